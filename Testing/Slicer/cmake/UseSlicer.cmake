# See SlicerConfig.cmake.

# Scripts and resources keep their sub-folders below the folder of scripted modules; with WITH_SUBDIR, below a folder
# there that is called as the source folder is. Slicer copies them there when it builds, here it is done at once.
# Installed is that folder, as it then is.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(PARSE_ARGV 0 module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(DEFINED module_UNPARSED_ARGUMENTS OR NOT DEFINED module_NAME)
    message(FATAL_ERROR "a scripted module has a NAME, and no ${module_UNPARSED_ARGUMENTS}")
  endif()

  set(folder "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(installed "${folder}/") # its contents
  if(module_WITH_SUBDIR)
    get_filename_component(name "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    string(APPEND folder "/${name}")
    set(installed "${folder}") # itself
  endif()

  foreach(file IN LISTS module_SCRIPTS module_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" OR IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "${module_NAME} lists ${file}, which is no file")
    endif()
    configure_file("${file}" "${folder}/${file}" COPYONLY)
  endforeach()
  install(DIRECTORY "${installed}" DESTINATION "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}" USE_SOURCE_PERMISSIONS)
endfunction()

# Slicer runs the tests of that file with ctest.
function(slicer_add_python_unittest)
  cmake_parse_arguments(PARSE_ARGV 0 test "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS")
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${test_SCRIPT}")
    message(FATAL_ERROR "${test_SCRIPT} is to be tested, and is no file")
  endif()
endfunction()
