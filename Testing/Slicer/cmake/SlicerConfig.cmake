# A stand-in for the CMake package of 3D Slicer, as far as an extension of scripted modules asks for it: the project's own
# CMakeLists.txt are configured with it and installed, without Slicer, a compiler or a build. What it does was read in
# Slicer's CMake/SlicerMacroBuildScriptedModule.cmake, CMake/SlicerDirectories.cmake and CMake/UseSlicer.cmake.in, and in
# CTK's CMake/ctkMacroCompilePythonScript.cmake.

set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")

# Slicer writes and packs the extension's description with these two; here they have nothing to do.
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake")

# Relative to the build tree, and on Linux and Windows to the place of installation too.
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}/qt-scripted-modules")
