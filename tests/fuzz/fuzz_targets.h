// Fuzz targets: each takes any bytes and aborts when a parser breaks its word.
//
// With clang they are libFuzzer programs (`<name>_fuzzer`); with every compiler `fuzz_smoke` feeds
// them seeds, mutations of them and random bytes, so that they cannot rot.
#ifndef LOCKSTEP_TESTS_FUZZ_FUZZ_TARGETS_H_
#define LOCKSTEP_TESTS_FUZZ_FUZZ_TARGETS_H_

#include <string_view>

namespace lockstep {

// What parses is canonical: written again it is the same bytes.
void FuzzRecordHeader(std::string_view bytes);
// What parses as an emitted record can be written, and reads back as itself.
void FuzzRecordJson(std::string_view bytes);
// What parses as a source line keeps its payload through an emitted record.
void FuzzSourceLine(std::string_view bytes);
// What parses as offset ranges is canonical.
void FuzzOffsetRanges(std::string_view bytes);
// No configuration file breaks the reader; what it reads can be quoted and read again.
void FuzzConfigFile(std::string_view bytes);
// A stream of frames gives the same messages however it is cut, or the same error.
void FuzzPikaFrames(std::string_view bytes);
// What parses as a binlog item is written again as itself; what it holds as a command, too.
void FuzzPikaItem(std::string_view bytes);
// What decodes as a run's notes is written again as itself; no value breaks their encoder.
void FuzzPikaNotes(std::string_view bytes);
// A master may say anything to a session: it fails with a reason, or its items are without a hole.
void FuzzPikaSession(std::string_view bytes);
// Nor does a master before 3.1, whose two forms are told apart by the first byte.
void FuzzPikaLegacy(std::string_view bytes);
// A snapshot port may say anything: what comes of it stays below the dump's directory, piece by
// piece.
void FuzzPikaSnapshot(std::string_view bytes);
// A dump's records may hold anything: what is alive has a key, and list nodes have an order.
void FuzzPikaDump(std::string_view bytes);

}  // namespace lockstep

#endif  // LOCKSTEP_TESTS_FUZZ_FUZZ_TARGETS_H_
