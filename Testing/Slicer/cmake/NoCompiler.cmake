# A toolchain without tools. `project(GTRStaging)` asks for C and C++, as all extensions do, and Slicer checks for what
# machine they compile; here nothing is compiled, and a machine without a compiler will do.

foreach(language C CXX)
  set(CMAKE_${language}_COMPILER "${CMAKE_COMMAND}")
  set(CMAKE_${language}_COMPILER_ID_RUN TRUE)
  set(CMAKE_${language}_COMPILER_FORCED TRUE)
endforeach()
set(CMAKE_MAKE_PROGRAM "${CMAKE_COMMAND}" CACHE FILEPATH "Nothing is built either")
