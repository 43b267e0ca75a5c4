#include "producer/sources/source.h"

#include "producer/sources/jsonl_source.h"
#include "producer/sources/pika_source.h"
#include "producer/sources/table_source.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<Source>> OpenSource(const SourceSpec& spec,
                                                   const SourceOptions& options) {
  if (const auto* jsonl = std::get_if<JsonlSpec>(&spec.kind)) {
    return OpenJsonlSource(*jsonl, options);
  }
  if (const auto* pika = std::get_if<PikaSpec>(&spec.kind)) return OpenPikaSource(*pika, options);
  return OpenTableSource(std::get<TableSpec>(spec.kind), options);
}

}  // namespace lockstep
