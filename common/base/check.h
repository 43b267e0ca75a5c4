// LOCKSTEP_CHECK stops the program when our own code is wrong.
//
// It never judges anything from outside (wire, disk, flags, rows): those are absl::Status. It is on
// in every build, because a program that keeps a pipeline's place must rather stop than go on
// wrongly.
#ifndef LOCKSTEP_COMMON_BASE_CHECK_H_
#define LOCKSTEP_COMMON_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace lockstep::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const char* why) {
  std::fprintf(stderr, "%s:%d: check failed: %s (%s)\n", file, line, condition, why);
  std::abort();
}

}  // namespace lockstep::internal

// `why` says why the condition cannot be false, citing the promise it rests on.
#define LOCKSTEP_CHECK(condition, why)                                        \
  do {                                                                        \
    if (!(condition)) [[unlikely]] {                                          \
      ::lockstep::internal::CheckFailed(__FILE__, __LINE__, #condition, why); \
    }                                                                         \
  } while (false)

#endif  // LOCKSTEP_COMMON_BASE_CHECK_H_
