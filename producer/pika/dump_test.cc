// A dump's bytes: records as Pika's own encoders wrote them, for key "foo", and what they mean.
#include <string>

#include "absl/strings/escaping.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/pika/dump_format.h"
#include "producer/pika/dump_reader.h"

namespace lockstep::pika {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kBeforeMs = 1726000000000;
constexpr int64_t kAfterMs = 1726000101000;

std::string Hex(const char* hex) { return absl::HexStringToBytes(hex); }

constexpr char kMixedKey[] = "0000000000000000666f6f000000000000000000000000000000000000";
constexpr char kMixedString[] =
    "00626172000000000000000000000000000000007bec9ddd91010080a0729fdd91010080";
constexpr char kMixedHash[] =
    "01020000007bec9ddd91010000000000000000000000000000000000007bec9ddd910100800000000000000000";

TEST(DumpFormatTest, ReadsStringsOfBothFamilies) {
  const auto by_type = ParseDumpMeta(DumpFamily::kByType, DataType::kString, "foo",
                                     Hex("626172e4abe066"), kBeforeMs);
  ASSERT_TRUE(by_type.ok() && *by_type);
  EXPECT_EQ((*by_type)->value, "bar");
  EXPECT_EQ((*by_type)->expire_at_ms, 1726000100000);
  const auto mixed = ParseDumpMeta(DumpFamily::kMixed, DataType::kUnknown, Hex(kMixedKey),
                                   Hex(kMixedString), kBeforeMs);
  ASSERT_TRUE(mixed.ok() && *mixed);
  EXPECT_EQ((*mixed)->key, "foo");
  EXPECT_EQ((*mixed)->value, "bar");
  EXPECT_EQ((*mixed)->expire_at_ms, 1726000100000);
}

TEST(DumpFormatTest, WhatIsStaleOrEmptyIsNoKey) {
  EXPECT_FALSE(
      ParseDumpMeta(DumpFamily::kByType, DataType::kString, "foo", Hex("626172e4abe066"), kAfterMs)
          ->has_value());
  EXPECT_FALSE(ParseDumpMeta(DumpFamily::kMixed, DataType::kUnknown, Hex(kMixedKey),
                             Hex(kMixedString), kAfterMs)
                   ->has_value());
  EXPECT_FALSE(ParseDumpMeta(DumpFamily::kByType, DataType::kHash, "foo",
                             Hex("0000000080abe06600000000"), kBeforeMs)
                   ->has_value());
}

TEST(DumpFormatTest, ACollectionsDataIsFoundByKeyAndVersion) {
  const auto by_type = ParseDumpMeta(DumpFamily::kByType, DataType::kHash, "foo",
                                     Hex("0200000080abe066e4abe066"), kBeforeMs);
  ASSERT_TRUE(by_type.ok() && *by_type);
  EXPECT_EQ((*by_type)->count, 2U);
  std::vector<std::string> elements;
  ASSERT_TRUE(AppendDumpElement(DumpFamily::kByType, **by_type, Hex("03000000666f6f80abe0666631"),
                                "v1", elements)
                  .ok());
  const auto mixed = ParseDumpMeta(DumpFamily::kMixed, DataType::kUnknown, Hex(kMixedKey),
                                   Hex(kMixedHash), kBeforeMs);
  ASSERT_TRUE(mixed.ok() && *mixed);
  const std::string data_key =
      Hex("0000000000000000666f6f00007bec9ddd91010000663100000000000000000000000000000000");
  ASSERT_EQ(data_key.substr(0, (*mixed)->data_prefix.size()), (*mixed)->data_prefix);
  ASSERT_TRUE(AppendDumpElement(DumpFamily::kMixed, **mixed, data_key,
                                Hex("7631000000000000000000000000000000007bec9ddd91010080"),
                                elements)
                  .ok());
  EXPECT_THAT(elements, ElementsAre("f1", "v1", "f1", "v1"));
}

TEST(DumpFormatTest, AListsNodesFollowItsLeftEnd) {
  const auto list = ParseDumpMeta(DumpFamily::kByType, DataType::kList, "foo",
                                  Hex("010000000000000080abe06600000000ffffffffffffff7f"
                                      "0100000000000080"),
                                  kBeforeMs);
  ASSERT_TRUE(list.ok() && *list);
  EXPECT_EQ(ListNodeKey(DumpFamily::kByType, **list, (*list)->first_index),
            Hex("03000000666f6f80abe0660000000000000080"));
}

TEST(DumpFormatTest, ListNodesAreOrderedAsPikaOrdersThem) {
  const auto less = [](DumpFamily family, const std::string& a, const std::string& b) {
    const rocksdb::Comparator* order = ListNodeComparator(family);
    EXPECT_EQ(order->Compare(a, b) < 0, order->Compare(b, a) > 0);
    EXPECT_EQ(order->Compare(a, a), 0);
    return order->Compare(a, b) < 0;
  };
  const auto node = [](DumpFamily family, const char* hex_prefix, uint64_t index) {
    DumpKey owner;
    owner.data_prefix = Hex(hex_prefix);
    return ListNodeKey(family, owner, index);
  };
  const DumpFamily by_type = DumpFamily::kByType;
  // Bytes of a little-endian number would put 256 before 255.
  EXPECT_TRUE(less(by_type, node(by_type, "03000000666f6f80abe066", 255),
                   node(by_type, "03000000666f6f80abe066", 256)));
  EXPECT_TRUE(less(by_type, node(by_type, "03000000666f6f000000ff", 9),
                   node(by_type, "03000000666f6f00000001", 1)));  // Versions are signed.
  EXPECT_TRUE(less(by_type, node(by_type, "03000000666f6f01000000", 9),
                   node(by_type, "02000000676f01000000", 1)));  // By key, not by its length.
  const DumpFamily mixed = DumpFamily::kMixed;
  EXPECT_TRUE(less(mixed, node(mixed, "0000000000000000666f6f00007bec9ddd91010000", 255),
                   node(mixed, "0000000000000000666f6f00007bec9ddd91010000", 256)));
  EXPECT_TRUE(less(mixed,
                   node(mixed,
                        "0000000000000000666f6f0000ff000000000000"
                        "00",
                        9),
                   node(mixed, "0000000000000000666f6f00000001000000000000", 1)));
}

TEST(DumpFormatTest, BytesThatMakeNoSenseAreNamed) {
  const auto says = [](DumpFamily family, DataType type, const std::string& key,
                       const std::string& value) {
    return std::string(ParseDumpMeta(family, type, key, value, kBeforeMs).status().message());
  };
  EXPECT_EQ(says(DumpFamily::kByType, DataType::kString, "k", "abc"),
            "a string's value of 3 bytes");
  EXPECT_EQ(says(DumpFamily::kByType, DataType::kZset, "k", "abc"), "a meta record of 3 bytes");
  EXPECT_EQ(says(DumpFamily::kMixed, DataType::kUnknown, "k", "abc"), "a key without its end mark");
  EXPECT_EQ(says(DumpFamily::kMixed, DataType::kUnknown, Hex(kMixedKey), "\x07x"),
            "a meta record of type 7");
  EXPECT_EQ(says(DumpFamily::kMixed, DataType::kUnknown, Hex(kMixedKey), "\x01x"),
            "a meta record of 2 bytes");
}

TEST(DumpInfoTest, HasThePosition) {
  EXPECT_EQ(*ParseDumpInfo("3s\n192.168.1.10\n9221\n12\n1048576\n"), (BinlogPosition{12, 1048576}));
  EXPECT_THAT(std::string(ParseDumpInfo("3s\nh\n").status().message()), HasSubstr("2 lines"));
  EXPECT_FALSE(ParseDumpInfo("3s\nh\n1\nx\n5\n").ok());
}

TEST(DumpReaderTest, NoDumpIsSaidSo) {
  EXPECT_EQ(DumpReader::Open("/nonexistent", 0).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lockstep::pika
