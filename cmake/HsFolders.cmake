# SPDX-License-Identifier: Apache-2.0
# hs_folder(NAME sources...): the static library of one folder, hs_NAME. A file of another folder is included by its path from
# the root ("base/vmas.h"), and tests/frame/includes.sh holds who may include whom.
function(hs_folder name)
  add_library(hs_${name} STATIC ${ARGN})
  target_link_libraries(hs_${name} PUBLIC hs_contracts)
endfunction()

# What the suites with the label "unit" need, to build no more than that with the sanitizers (tests/run-all.sh).
add_custom_target(hs-unit)

# hs_suite(NAME SOURCES s... [LIBS l...] [INCLUDES dir...] [LABELS l...] [TIMEOUT seconds] [COST seconds] [KSM [ALONE]] [ROOT] [FORKS] [LONG])
# One Check suite and its CTest entry. KSM: it uses the host's ksmd, so no other that does runs beside it, and it runs
# below tests/ksm.sh; ALONE: nothing at all runs beside it, for it measures how hot memory is. Exit code 77: skipped as a whole.
# COST: what uses KSM, of which one runs at a time, is begun first (2000), and then what takes longest. LONG: NAME_long, with the label long, is the
# same suite with all of the cases of which hs_test_nr and hs_test_each (tests/hs_test.h) leave some. Each test of a unit suite is a
# process of its own in the release build alone: the address sanitizer takes a fifth of a second for one; FORKS: there as well,
# since the tests do not go together in one process.
function(hs_suite name)
  cmake_parse_arguments(S "KSM;ALONE;ROOT;FORKS;LONG" "TIMEOUT;COST" "SOURCES;LIBS;INCLUDES;LABELS" ${ARGN})
  add_executable(${name} ${S_SOURCES})
  target_link_libraries(${name} PRIVATE ${S_LIBS} hs_contracts PkgConfig::CHECK)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests ${S_INCLUDES})
  if(NOT S_TIMEOUT)
    set(S_TIMEOUT 240)
  endif()
  # The sanitizers' builds are several times slower, and run beside other suites.
  if(HS_SANITIZE)
    math(EXPR S_TIMEOUT "${S_TIMEOUT} * 5")
  endif()
  set(keeper)
  if(S_KSM)
    set(keeper ${PROJECT_SOURCE_DIR}/tests/ksm.sh)
  endif()
  add_test(NAME ${name} COMMAND ${keeper} $<TARGET_FILE:${name}>)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${S_TIMEOUT} SKIP_RETURN_CODE 77 LABELS "${S_LABELS}")
  if("unit" IN_LIST S_LABELS)
    add_dependencies(hs-unit ${name})
    if(HS_SANITIZE AND NOT S_FORKS)
      set_tests_properties(${name} PROPERTIES ENVIRONMENT CK_FORK=no)
    endif()
  endif()
  if(S_COST)
    set_tests_properties(${name} PROPERTIES COST ${S_COST})
  endif()
  if(S_LONG)
    math(EXPR long "${S_TIMEOUT} * 10")
    add_test(NAME ${name}_long COMMAND ${keeper} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}_long PROPERTIES TIMEOUT ${long} SKIP_RETURN_CODE 77 LABELS long ENVIRONMENT HS_TEST_LONG=1)
    if(S_KSM)
      set_tests_properties(${name}_long PROPERTIES RESOURCE_LOCK ksm COST 2000)
    endif()
  endif()
  if(S_KSM)
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK ksm COST 2000 RUN_SERIAL ${S_ALONE})
  endif()
endfunction()
