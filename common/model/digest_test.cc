#include "common/model/digest.h"

#include <set>

#include <gtest/gtest.h>

namespace lockstep {
namespace {

uint64_t Of(const Payload& payload, std::string_view producer = "A", int64_t term = 1,
            int64_t seq = 1) {
  RunDigest digest;
  digest.Add(producer, Term(term), Seq(seq), payload);
  return digest.Value();
}

TEST(RunDigest, EveryPartCountsAndNullIsNotEmpty) {
  const Payload base{.key = "k", .value = "v", .headers = {{"h", "x"}}, .timestamp_ms = 1};
  Payload no_key = base, empty_key = base, tombstone = base, shifted = base, null_header = base,
          no_headers = base;
  no_key.key = std::nullopt;
  empty_key.key = "";
  tombstone.value = std::nullopt;
  shifted.key = "kv";
  shifted.value = "";
  null_header.headers = {{"h", std::nullopt}};
  no_headers.headers.clear();
  const std::set<uint64_t> digests = {
      Of(base),        Of(no_key),     Of(empty_key), Of(tombstone),    Of(shifted),
      Of(null_header), Of(no_headers), Of(base, "B"), Of(base, "A", 2), Of(base, "A", 1, 2)};
  EXPECT_EQ(digests.size(), 10u);
}

TEST(RunDigest, TheTimestampDoesNotCount) {
  EXPECT_EQ(Of({.key = "k", .value = "v", .headers = {}, .timestamp_ms = 1}),
            Of({.key = "k", .value = "v", .headers = {}, .timestamp_ms = 2}));
}

TEST(RunDigest, TheOrderOfRecordsCounts) {
  RunDigest ab, ba;
  const Payload a{.key = {}, .value = "a", .headers = {}},
      b{.key = {}, .value = "b", .headers = {}};
  ab.Add("A", Term(1), Seq(1), a);
  ab.Add("A", Term(1), Seq(2), b);
  ba.Add("A", Term(1), Seq(1), b);
  ba.Add("A", Term(1), Seq(2), a);
  EXPECT_NE(ab.Value(), ba.Value());
}

// Stored digests outlive programs: this value may never change.
TEST(RunDigest, TheFormatIsFixed) {
  EXPECT_EQ(Of({.key = "k1", .value = "hello", .headers = {{"h", "v"}}}), 9839665988766352885ULL);
}

}  // namespace
}  // namespace lockstep
