// libFuzzer's entry; LOCKSTEP_FUZZ_TARGET is the function under test.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lockstep::LOCKSTEP_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});  // NOLINT
  return 0;
}
