// What lockstep-reorder is told on its command line.
#ifndef LOCKSTEP_REORDER_OPTIONS_H_
#define LOCKSTEP_REORDER_OPTIONS_H_

#include <chrono>
#include <string>
#include <vector>

#include "common/config/program.h"
#include "reorder/gate.h"
#include "reorder/resequencer.h"
#include "reorder/sinks/make_sink.h"
#include "reorder/stream_engine.h"

namespace lockstep {

struct ReorderOptions {
  // As typed.
  std::string mode = {};
  std::string group = {};
  std::string from = "cursor";
  std::string sink = {};
  std::string sink_db = {};
  std::string in_doubt = "hold";
  std::string foreign = "fail";
  std::string buffer = "memory";
  bool old_gate_is_dead = false;
  bool until_end = false;
  bool plan = false;
  std::chrono::milliseconds stall_timeout{30'000};

  // What Validate made of it.
  ReorderMode reorder_mode = ReorderMode::kGate;
  bool from_start = false;
  SinkSpec sink_spec = {};
  InDoubtPolicy in_doubt_policy = InDoubtPolicy::kHold;
  ForeignPolicy foreign_policy = ForeignPolicy::kFail;

  // Defines the flags. `this` must outlive `program`.
  void AddTo(Program& program);
  // All complaints; fills the second half.
  std::vector<std::string> Validate(const CommonOptions& common);
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_OPTIONS_H_
