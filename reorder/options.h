// What lockstep-reorder is told on its command line.
#ifndef LOCKSTEP_REORDER_OPTIONS_H_
#define LOCKSTEP_REORDER_OPTIONS_H_

#include <chrono>
#include <string>
#include <vector>

#include "common/config/program.h"
#include "common/config/units.h"
#include "reorder/gate.h"
#include "reorder/resequencer.h"
#include "reorder/sinks/make_sink.h"
#include "reorder/stream_runner.h"

namespace lockstep {

// Where parked records wait. kAuto and kSpill: in memory up to a budget, the rest on disk; kAuto
// makes its directory only when it needs it. kBounded: the rest is fetched from the log again.
enum class BufferKind { kMemory, kSpill, kBounded, kAuto };

struct ReorderOptions {
  // As typed.
  std::string mode = {};
  std::string group = {};
  std::string from = "cursor";
  std::string sink = {};
  std::string sink_db = {};
  int64_t sink_batch = 1;
  bool payload_in_ledger = false;
  std::string sink_header_file = {};
  std::string sink_ca = {};
  std::chrono::milliseconds sink_timeout = HttpSinkOptions().answer_max;
  std::string in_doubt = "hold";
  std::string foreign = "fail";
  std::string assignment = "all";
  std::string buffer = "auto";
  Size buffer_memory{Size::Unit::kBytes, int64_t{256} << 20};
  std::string spill_dir = {};
  Size spill_max = {};  // 0: no limit.
  bool plan = false;

  // What Validate made of it.
  BufferKind buffer_kind = BufferKind::kAuto;
  // All that every stream's engine is told; --old-gate-is-dead, --until-end and --stall-timeout as
  // typed.
  StreamEngineOptions engine = {};
  SinkSpec sink_spec = {};
  SinkSettings sink_settings = {};
  bool by_group = false;  // The consumer group says which streams are this process's.

  // Defines the flags. `this` must outlive `program`.
  void AddTo(Program& program);
  // What the streams together may take; each gets its part. After Validate.
  BufferOptions Buffer(const StreamName& stream, size_t streams) const;
  // Of the budget, whatever buffer it is for.
  ParkingBudget Budget(size_t streams) const;
  // All complaints; fills the second half.
  std::vector<std::string> Validate(const CommonOptions& common);

 private:
  void AddBufferTo(Program& program, CLI::App& app);
  void AddRunTo(Program& program, CLI::App& app);
  void AddSinkTo(CLI::App& app);
  void AddHttpTo(Program& program, CLI::App& app);
  void AddDoubtTo(CLI::App& app);
  void ValidateFrom(std::vector<std::string>& complaints);
  void ValidatePerProducer(std::vector<std::string>& complaints) const;
  void CheckHttp(std::vector<std::string>& complaints);
  void ValidateAssignment(const CommonOptions& common, std::vector<std::string>& complaints);
  void CheckKafka(const CommonOptions& common, std::vector<std::string>& complaints) const;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_OPTIONS_H_
