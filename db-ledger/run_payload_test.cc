#include "db-ledger/run_payload.h"

#include <rapidcheck.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

Payload Full() {
  Payload p;
  p.key = "k";
  p.value = std::string("v\0\xff", 3);
  p.headers = {{"h", "1"}, {"h", std::nullopt}, {"", ""}};
  p.timestamp_ms = 1'700'000'000'000;
  return p;
}

Payload Tombstone() {
  Payload p;
  p.timestamp_ms = -1;
  return p;
}

TEST(RunPayload, KeepsEverythingButTheIdentity) {
  const std::vector<Payload> records = {Full(), Tombstone(), Full(), Payload{}};
  const auto bytes = EncodeRunPayload(records);
  ASSERT_TRUE(bytes.ok());
  const auto decoded = DecodeRunPayload(*bytes, 4);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, records);
}

TEST(RunPayload, AnyRecordsComeBack) {
  ASSERT_TRUE(rc::check([] {
    const auto count = *rc::gen::inRange(0, 20);
    std::vector<Payload> records;
    for (int i = 0; i < count; ++i) {
      Payload p;
      if (*rc::gen::arbitrary<bool>()) p.key = *rc::gen::arbitrary<std::string>();
      if (*rc::gen::arbitrary<bool>()) p.value = *rc::gen::arbitrary<std::string>();
      if (*rc::gen::arbitrary<bool>())
        p.headers.emplace_back(*rc::gen::arbitrary<std::string>(), "x");
      p.timestamp_ms = *rc::gen::arbitrary<int64_t>();
      records.push_back(p);
    }
    const auto decoded = DecodeRunPayload(*EncodeRunPayload(records), count);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(*decoded == records);
  }));
}

TEST(RunPayload, RefusesWhatTheEncoderCouldNotHaveWritten) {
  const std::string good = *EncodeRunPayload(std::vector<Payload>{Full(), Tombstone()});
  EXPECT_FALSE(DecodeRunPayload("", 0).ok());
  EXPECT_FALSE(DecodeRunPayload(good, 1).ok()) << "more records than the run";
  EXPECT_FALSE(DecodeRunPayload(good, 3).ok()) << "fewer records than the run";
  EXPECT_FALSE(DecodeRunPayload("\x03" + good.substr(1), 2).ok()) << "another version";
  EXPECT_TRUE(absl::IsNotFound(DecodeRunPayload("\x02" + good.substr(1), 2).status())) << "notes";
  EXPECT_FALSE(DecodeRunPayload(good.substr(0, good.size() - 1), 2).ok());
  EXPECT_FALSE(DecodeRunPayload(good + "x", 2).ok());
  for (const int64_t count : {0, 1, 2}) {
    for (size_t i = 0; i < good.size(); ++i) {
      for (const int bit : {0, 3, 7}) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
        DecodeRunPayload(bad, count).IgnoreError();  // Any answer, no crash; the digest proves.
      }
    }
  }
}

TEST(RunPayload, ABombIsNotUnpacked) {
  Payload big;
  big.value = std::string(1 << 20, 'x');
  const std::string bytes = *EncodeRunPayload(std::vector<Payload>{big});
  EXPECT_LT(bytes.size(), 1000u);
  EXPECT_EQ(DecodeRunPayload(bytes, 1, 1 << 10).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace lockstep
