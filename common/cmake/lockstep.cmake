# How everything here is built: the dependencies as targets, the warnings as one target, and three
# functions (lockstep_library, lockstep_program, lockstep_test) so that a folder's CMakeLists.txt
# only says what is in it.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(THREADS_PREFER_PTHREAD_FLAG ON)

find_program(LOCKSTEP_CCACHE ccache)
if(LOCKSTEP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${LOCKSTEP_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LOCKSTEP_CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(prometheus-cpp REQUIRED)
find_package(RocksDB REQUIRED)
find_package(RapidJSON REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(rapidcheck REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(rdkafka REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(pqxx REQUIRED IMPORTED_TARGET libpqxx libpq)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(libzstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)

pkg_check_modules(jemalloc REQUIRED IMPORTED_TARGET jemalloc)

add_library(lockstep_warnings INTERFACE)
target_compile_options(lockstep_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  # librdkafka's V macros are statement expressions; RapidJSON's iterators predate C++20's reversed operators.
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wno-c99-designator -Wno-gnu-statement-expression -Wno-ambiguous-reversed-operator>)
target_include_directories(lockstep_warnings INTERFACE ${PROJECT_SOURCE_DIR})

# Part of every program under ThreadSanitizer.
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
  add_library(lockstep_tsan OBJECT ${PROJECT_SOURCE_DIR}/common/tsan/tsan.cc)
  target_link_libraries(lockstep_tsan PRIVATE lockstep_warnings)
  set(LOCKSTEP_TSAN lockstep_tsan)
endif()

# For programs that free what another thread allocated, a million times a second (common/alloc/jemalloc.cc). Sanitizers bring an
# allocator of their own.
add_library(lockstep_jemalloc INTERFACE)
if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
  target_sources(lockstep_jemalloc INTERFACE ${PROJECT_SOURCE_DIR}/common/alloc/jemalloc.cc)
  target_link_libraries(lockstep_jemalloc INTERFACE PkgConfig::jemalloc)
endif()

# lockstep_library(name SRCS a.cc … DEPS target …); without SRCS: headers only.
function(lockstep_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
  if(arg_SRCS)
    add_library(lockstep_${name} STATIC ${arg_SRCS})
    target_link_libraries(lockstep_${name} PUBLIC ${arg_DEPS} PRIVATE lockstep_warnings)
    target_include_directories(lockstep_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  else()
    add_library(lockstep_${name} INTERFACE)
    target_link_libraries(lockstep_${name} INTERFACE ${arg_DEPS})
    target_include_directories(lockstep_${name} INTERFACE ${PROJECT_SOURCE_DIR})
  endif()
endfunction()

# lockstep_program(lockstep-producer SRCS main.cc DEPS …)
function(lockstep_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
  add_executable(${name} ${arg_SRCS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} ${LOCKSTEP_TSAN} lockstep_warnings Threads::Threads)
  target_compile_definitions(${name} PRIVATE LOCKSTEP_VERSION="${PROJECT_VERSION}")
endfunction()

# All tests that need neither a database nor a broker of their own; the sanitizers run these.
add_custom_target(quick_tests)

# lockstep_test(common_test LABEL unit SRCS a_test.cc … DEPS … [TIMEOUT seconds]): GoogleTest and
# GoogleMock with their main. One binary a folder and label keeps links few.
function(lockstep_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;TIMEOUT" "SRCS;DEPS")
  add_executable(${name} ${arg_SRCS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gmock_main ${LOCKSTEP_TSAN} lockstep_warnings Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
  if(arg_LABEL MATCHES "^(unit|property|fault|sim)$")
    add_dependencies(quick_tests ${name})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABEL}" TIMEOUT ${arg_TIMEOUT})
endfunction()
