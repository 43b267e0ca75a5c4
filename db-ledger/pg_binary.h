// PostgreSQL's binary formats, as far as the ledger's calls use them: big-endian numbers,
// one-dimensional arrays, int8multirange. Pure; pg_connection.* is the only user.
#ifndef LOCKSTEP_DB_LEDGER_PG_BINARY_H_
#define LOCKSTEP_DB_LEDGER_PG_BINARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/offset_ranges.h"

namespace lockstep {

// Types' numbers in pg_type; fixed for ever.
inline constexpr uint32_t kPgBytea = 17;
inline constexpr uint32_t kPgInt8 = 20;
inline constexpr uint32_t kPgText = 25;
inline constexpr uint32_t kPgInt8Multirange = 4536;

std::string PgInt(int64_t value);   // 8 bytes
std::string PgInt4(int32_t value);  // 4 bytes
std::string PgMultirange(const OffsetRanges& ranges);
// Elements are already in binary form; nullopt is NULL.
std::string PgArray(uint32_t element_type, const std::vector<std::optional<std::string>>& elements);

// A big-endian number of 2, 4 or 8 bytes. REQUIRES: one of these lengths
int64_t ParsePgInt(std::string_view bytes);
// DATA_LOSS for whatever is not ascending, disjoint, bounded [first, end) ranges.
absl::StatusOr<OffsetRanges> ParsePgMultirange(std::string_view bytes);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_PG_BINARY_H_
