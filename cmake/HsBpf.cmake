# SPDX-License-Identifier: Apache-2.0
# hs_bpf_folder(NAME program...): the folder's BPF programs, PROGRAM.bpf.c each with PROGRAM_abi.h, which is what it and the C side
# have in common; ept/bpf/kernel_types.h is what they know of the kernel. Each is compiled and turned into a header, PROGRAM.skel.h, for whoever links the interface library hs_NAME.
find_program(HS_BPF_CLANG NAMES clang clang-14 clang-15 clang-16 REQUIRED)
find_program(HS_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

function(hs_bpf_folder name)
  set(includes -I${CMAKE_CURRENT_SOURCE_DIR} -I${PROJECT_SOURCE_DIR})
  if(CMAKE_LIBRARY_ARCHITECTURE)
    list(APPEND includes -I/usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
  endif()
  # The object, which the programs carry, has the names of its sources in it: without the folder in which they happen to lie.
  set(maps -ffile-prefix-map=${PROJECT_SOURCE_DIR}=. -ffile-prefix-map=${PROJECT_BINARY_DIR}=build)
  set(skeletons)
  foreach(program IN LISTS ARGN)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${program}.bpf.o)
    set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/skeleton/${program}.skel.h)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${HS_BPF_CLANG} -target bpf -std=gnu11 -g -O2 -Wall -Wextra -Werror ${maps} ${includes}
              -MD -MF ${object}.d -MT ${object} -c ${CMAKE_CURRENT_SOURCE_DIR}/${program}.bpf.c -o ${object}
      DEPENDS ${program}.bpf.c ${program}_abi.h
      DEPFILE ${object}.d
      COMMENT "Compiling ${program} for BPF"
      VERBATIM)
    # bpftool writes to its standard output, and a half-written header must not look up to date.
    add_custom_command(
      OUTPUT ${skeleton}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/skeleton
      COMMAND sh -c "'${HS_BPFTOOL}' gen skeleton '${object}' name ${program}_bpf > '${skeleton}.part' && mv '${skeleton}.part' '${skeleton}'"
      DEPENDS ${object}
      COMMENT "Making the skeleton of ${program}"
      VERBATIM)
    list(APPEND skeletons ${skeleton})
  endforeach()
  add_custom_target(hs_${name}_skeletons DEPENDS ${skeletons})
  add_library(hs_${name} INTERFACE)
  add_dependencies(hs_${name} hs_${name}_skeletons)
  # SYSTEM: the skeleton is generated, and our warnings are not meant for it.
  target_include_directories(hs_${name} SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR}/skeleton)
endfunction()
