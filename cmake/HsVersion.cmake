# SPDX-License-Identifier: Apache-2.0
# HS_VERSION: what the programs report. It is asked of the source tree each time that it is configured, unless it is given
# (-DHS_VERSION=..., as whoever builds a package does). HS_VERSION_NUMBER is the numeric part.
if(NOT DEFINED CACHE{HS_VERSION})
  execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cmake/version.sh ${CMAKE_CURRENT_SOURCE_DIR}
    OUTPUT_VARIABLE HS_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
string(REGEX MATCH "^[0-9]+(\\.[0-9]+)*" HS_VERSION_NUMBER "${HS_VERSION}")
