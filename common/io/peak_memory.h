// The process's greatest resident memory.
#ifndef LOCKSTEP_COMMON_IO_PEAK_MEMORY_H_
#define LOCKSTEP_COMMON_IO_PEAK_MEMORY_H_

#include <cstdint>

namespace lockstep {

// Bytes, as Linux tells it; 0: it does not.
int64_t PeakMemoryBytes();

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_IO_PEAK_MEMORY_H_
