// Runs one of the shipped programs to its end and reads the JSON object that it ends with.
#ifndef LOCKSTEP_BENCH_PROGRAM_H_
#define LOCKSTEP_BENCH_PROGRAM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include <rapidjson/document.h>

namespace lockstep::bench {

// argv[0] is a path. Standard error goes to ours. Any exit code but those in `accepted` is an error
// with the last line of the output; so is an output that does not end with a JSON object.
absl::StatusOr<rapidjson::Document> RunProgram(const std::vector<std::string>& argv,
                                               const std::vector<int>& accepted = {0});

// Seconds from the start of the program to the first byte on its standard output; then it is asked
// to stop (SIGTERM) and waited for, and how it ends does not matter. DEADLINE_EXCEEDED: it closed
// its output, or `seconds_max` passed, without any.
absl::StatusOr<double> SecondsToFirstOutput(const std::vector<std::string>& argv,
                                            double seconds_max);

// A number of the object; 0 if it has none of this name.
double Number(const rapidjson::Document& object, const char* name);

}  // namespace lockstep::bench

#endif  // LOCKSTEP_BENCH_PROGRAM_H_
