// Dumps as Pika 3.5 makes them (docs/formats/pika-dump.md), of any size.
#ifndef LOCKSTEP_BENCH_PIKA_DUMP_H_
#define LOCKSTEP_BENCH_PIKA_DUMP_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace lockstep::bench {

// At position 1:0. `keys` strings with values of 100 B, and one hash of `fields` fields with 20 B
// each (0: none). `directory` is made, and must not be there.
absl::Status MakePikaDump(const std::string& directory, int64_t keys, int64_t fields);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_PIKA_DUMP_H_
