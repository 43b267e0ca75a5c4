// Feeds every fuzz target its seeds, mutations of them and random bytes for a moment.
//   fuzz_smoke [SEED [ITERATIONS]]
// The seed is printed; the same seed gives the same bytes.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_targets.h"

namespace {

struct Target {
  const char* name;
  void (*run)(std::string_view);
  std::vector<std::string> seeds;
};

constexpr char kRecord[] =
    R"({"stream":"orders/0","epoch":1,"offset":4711,"producer":"A","term":4,"seq":2301,"at":"98231",)"
    R"("key":"k1","value":"…","timestamp_ms":1700000000000,"headers":{"h":"v"}})";
constexpr char kBinaryRecord[] =
    R"({"stream":"t/1","epoch":2,"offset":0,"producer_b64":"/w==","term":1,"seq":1,"at":"","key":null,)"
    R"("value_b64":"/wA=","timestamp_ms":0,"headers":[["h","1"],["h",null]],"headers_b64":{"b":"/g=="},)"
    R"("log_offset":9,"replayed":true,"in_doubt":true})";

// `SET k v`, the first entry of a log, and the frame that a master sends it in, up to the entry.
constexpr char kPikaItem[] =
    "\x01\x00\x00\xf1\x53\x65\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x1b\x00\x00\x00*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
constexpr char kPikaEntry[] =
    "\x00\x00\x00\x5a\x08\x04\x10\x01\x3a\x54\x0a\x07\x0a\x03"
    "db0\x10\x00\x12\x08\x08\x00\x10\x45\x18\x00\x20\x01\x1a\x3d";

// Notes of three events, and an event's value.
constexpr char kPikaNotes[] =
    "\x02\x00\x01\x02\x03\x04\x05\x06\x07\x08\xbc\x0a\x00\x00\x1b\x00\x00\x00\x03"
    "h:1\x01h\x01\x03"
    "db0\x07\x80\xc4\x9f\xd5\x0c\x06\x02\x02\x00\x01";
constexpr char kPikaEvent[] =
    R"({"event_type":"binlog","op":"set","data_type":"string","db":"db0","slot":0,"key":"k",)"
    R"("args_b64":["U0VU"],"raw_resp_b64":"Kj","ts_ms":1700000000000,"event_id":"0:0:69:1",)"
    R"("source_id":"h:1","binlog":{"filenum":0,"offset":69,"logic_id":1,"server_id":null,"term_id":0},)"
    R"("source":{"host":"h","port":1,"replication_id":"a\"b"}})";

// The same as a Pika 2.3 sends it.
constexpr char kPikaMarked[] =
    "\1*7\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$14\r\n__PIKA_X#$SKGI\r\n$1\r\n1\r\n$16\r\n"
    "\x00\xf1\x53\x65\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\r\n$1\r\n1\r\n";

// A list of two files, and the first piece.
constexpr char kPikaList[] =
    "\x00\x00\x00\x42\x08\x01\x10\x00\x1a\x20"
    "0123456789abcdef0123456789abcdef\x22\x03"
    "db0\x28\x00\x30\x01\x3a\x11\x0a\x09"
    "0/CURRENT\x0a\x04info";
constexpr char kPikaPiece[] =
    "\x00\x00\x00\x4b\x08\x02\x10\x00\x1a\x20"
    "0123456789abcdef0123456789abcdef\x22\x03"
    "db0\x28\x00\x30\x01\x42\x1a\x08\x01\x10\x05\x18\x00\x22\x05"
    "bytes\x2a\x00\x32\x09"
    "0/CURRENT";

const std::vector<Target>& Targets() {
  static const auto& targets = *new std::vector<Target>{
      {"record_header", lockstep::FuzzRecordHeader, {"4/2301/98231/A", "1/1//a/b/c"}},
      {"record_json", lockstep::FuzzRecordJson, {kRecord, kBinaryRecord}},
      {"source_line",
       lockstep::FuzzSourceLine,
       {R"({"value":"hello"})", kBinaryRecord,
        R"({"key":"k","value_b64":"/wA=","headers":[["h","1"],["h","2"]],"partition":3})"}},
      {"offset_ranges", lockstep::FuzzOffsetRanges, {"{}", "{[10,13),[15,16)}"}},
      {"config_file",
       lockstep::FuzzConfigFile,
       {"[common]\nbrokers = \"a:1,b:2\" # x\n[kafka]\nsasl.password = 'p\\'\n",
        "[a.b]\nx = [1, true,\n \"\\\"\\\\\\n\"]\n"}},
      {"pika_frames", lockstep::FuzzPikaFrames, {std::string("\0\0\0\2ab\0\0\0\1c", 11)}},
      {"pika_item", lockstep::FuzzPikaItem, {std::string(kPikaItem, sizeof(kPikaItem) - 1)}},
      {"pika_notes",
       lockstep::FuzzPikaNotes,
       {std::string(kPikaNotes, sizeof(kPikaNotes) - 1), kPikaEvent}},
      {"pika_session",
       lockstep::FuzzPikaSession,
       {std::string(kPikaEntry, sizeof(kPikaEntry) - 1) +
        std::string(kPikaItem, sizeof(kPikaItem) - 1) + "\x20\x07"}},
      {"pika_legacy",
       lockstep::FuzzPikaLegacy,
       {std::string("\0\2\0\x3d\0\0\0", 7) + std::string(kPikaItem, sizeof(kPikaItem) - 1),
        std::string(kPikaMarked, sizeof(kPikaMarked) - 1),
        "\2$31\r\npika_version:3.0.16\r\nrole:master\r\n"}},
      {"pika_snapshot",
       lockstep::FuzzPikaSnapshot,
       {std::string(kPikaList, sizeof(kPikaList) - 1) +
        std::string(kPikaPiece, sizeof(kPikaPiece) - 1)}},
      {"pika_dump",
       lockstep::FuzzPikaDump,
       {std::string("foo\0\0bar\xe4\xab\xe0\x66", 12),
        std::string("abcdefghijkl\2\0\0\0\x80\xab\xe0\x66\0\0\0\0", 24),
        std::string(8, '\0') + "foo" + std::string(34, '\0') + "\1\2" + std::string(43, '\0')}}};
  return targets;
}

std::string Mutate(std::string text, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t i = 1 + below(4); i > 0; --i) {
    const size_t at = below(text.size() + 1);
    switch (below(4)) {
      case 0:
        text.insert(at, 1, static_cast<char>(random()));
        break;
      case 1:
        text.erase(at, 1 + below(3));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      default:
        text.insert(at, text.substr(below(text.size()), below(8)));
        break;
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device{}();
  const int iterations = argc > 2 ? std::atoi(argv[2]) : 200'000;  // NOLINT
  std::printf("fuzz_smoke %llu %d\n", static_cast<unsigned long long>(seed), iterations);
  std::fflush(stdout);  // So that it is there when a target aborts.
  std::mt19937_64 random(seed);
  for (const Target& target : Targets()) {
    std::printf("%s\n", target.name);
    std::fflush(stdout);
    for (const std::string& text : target.seeds) target.run(text);
    for (int i = 0; i < iterations; ++i) {
      std::string bytes = target.seeds[random() % target.seeds.size()];
      if (random() % 8 == 0) {
        bytes.resize(random() % 64);
        for (char& c : bytes) c = static_cast<char>(random());
      }
      target.run(Mutate(std::move(bytes), random));
    }
  }
}
