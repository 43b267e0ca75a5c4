// What compressing spilled records saves and costs: the shipped store, the shipped layout of parked
// records, and values of three kinds. `alike` are the values of the other figures here, `json` are
// orders whose names repeat and whose numbers do not, `random` cannot be compressed.
//
// The figure is what is left of the bytes; what it costs is processor time of the writing and the
// reading thread (params), which a busy machine changes less than the time of day.
#include <time.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "reorder/parking/rocks_chunk_store.h"
#include "reorder/producer_fifo.h"
#include "sim/random.h"

namespace lockstep::bench {
namespace {

using Compression = RocksChunkStore::Compression;
using MakeValue = std::function<std::string(sim::Random&)>;

constexpr int64_t kPieceBytes = 8 << 20;  // As FifoParking's.
constexpr uint64_t kFiles = 8;

double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string Alike(sim::Random& /*random*/) { return std::string(100, 'v'); }

std::string Json(sim::Random& random) {
  return absl::StrCat(R"({"order":)", random.Below(1'000'000'000), R"(,"customer":"c-)",
                      random.Below(100'000), R"(","items":[{"sku":"SKU-)", random.Below(10'000),
                      R"(","quantity":)", random.Below(9) + 1, R"(,"cents":)",
                      random.Below(100'000), R"(}],"state":"paid"})");
}

std::string Incompressible(sim::Random& random) {
  std::string value(100, ' ');
  for (char& byte : value) byte = static_cast<char>(random.Below(256));
  return value;
}

// A piece's records, parked.
ProducerFifo Fill(ChunkPool& pool, const MakeValue& make_value) {
  sim::Random random(7);
  ProducerFifo fifo(pool);
  int64_t bytes = 0;
  for (int64_t seq = 1; bytes < kPieceBytes; ++seq) {
    const std::string value = make_value(random);
    const std::string at = std::to_string(seq);
    RecordView view;
    view.log_offset = Offset(3 * seq);
    view.timestamp_ms = 1'700'000'000'000 + seq / 10;
    view.at = at;
    view.value = value;
    bytes += static_cast<int64_t>(fifo.Park(Seq(seq), view));
  }
  return fifo;
}

absl::Status Measure(const Report& report, const std::string& name, Compression compression,
                     const std::vector<ChunkStore::Chunk>& chunks) {
  const std::string directory = std::filesystem::temp_directory_path() / "lockstep-bench-compress";
  const absl::Cleanup removed = [&] {
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
  };
  RocksChunkStore store(directory, compression);
  LOCKSTEP_RETURN_IF_ERROR(store.Open());
  const double start = ProcessorSeconds();
  for (uint64_t file = 1; file <= kFiles; ++file) {
    LOCKSTEP_RETURN_IF_ERROR(store.Write(file, chunks));
  }
  const double written = ProcessorSeconds();
  std::vector<std::byte> memory(ChunkPool::kChunkBytesMax);
  int64_t bytes = 0;
  for (uint64_t file = 1; file <= kFiles; ++file) {
    for (const ChunkStore::Chunk& chunk : chunks) {
      LOCKSTEP_RETURN_IF_ERROR(
          store.Read(file, chunk.queue, chunk.first_seq, memory.data(), chunk.bytes.size()));
      bytes += static_cast<int64_t>(chunk.bytes.size());
    }
  }
  const double read = ProcessorSeconds();
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  report({.name = name,
          .value = static_cast<double>(store.bytes()),
          .baseline = "as parked",
          .baseline_value = static_cast<double>(bytes),
          .unit = "B",
          .better = Better::kLower,
          .params = {{"write_processor_seconds_per_gb", (written - start) / gigabytes},
                     {"read_processor_seconds_per_gb", (read - written) / gigabytes}}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunSpillCompression(Site& site, const Report& report) {
  for (const auto& [kind, make_value] : {std::pair<std::string, MakeValue>{"alike", Alike},
                                         {"json", Json},
                                         {"random", Incompressible}}) {
    for (const auto& [how, compression] :
         {std::pair<std::string, Compression>{"none", Compression::kNone},
          {"lz4", Compression::kLz4},
          {"zstd", Compression::kZstd}}) {
      const std::string name = absl::StrCat("reorder/spill_compression/", kind, "/", how);
      if (!site.WantsApart(name)) continue;
      ChunkPool pool;
      const ProducerFifo fifo = Fill(pool, make_value);
      std::vector<ChunkStore::Chunk> chunks;
      fifo.ForEachUnwritten([&](const ChunkPool::Chunk& chunk, bool /*growing*/) {
        chunks.push_back({0, chunk.first_seq, chunk.view()});
      });
      LOCKSTEP_RETURN_IF_ERROR(Measure(report, name, compression, chunks));
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep::bench
