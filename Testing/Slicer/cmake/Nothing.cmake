# See SlicerConfig.cmake.
