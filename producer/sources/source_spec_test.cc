#include "producer/sources/source_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;

TEST(ParseSourceSpec, ReadsEveryPartOfATable) {
  const auto spec = ParseSourceSpec(
      "table:shop.outbox?id=n&value=body&key=customer&xid=tx&where=kind%20=%20'a%26b'");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(std::get<TableSpec>(spec->kind),
            (TableSpec{"shop", "outbox", "n", "body", "customer", "tx", "kind = 'a&b'"}));
}

TEST(ParseSourceSpec, ATableWithoutASchemaIsPublic) {
  const auto spec = ParseSourceSpec("table:outbox?id=id&value=v");
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(std::get<TableSpec>(spec->kind).schema, "public");
}

TEST(ParseSourceSpec, KeepsTheTextAsTyped) {
  EXPECT_EQ(ParseSourceSpec("jsonl:a%20b")->text, "jsonl:a%20b");
  EXPECT_EQ(std::get<JsonlSpec>(ParseSourceSpec("jsonl:a%20b")->kind).path, "a%20b");
  EXPECT_TRUE(std::get<JsonlSpec>(ParseSourceSpec("jsonl:-")->kind).standard_input());
}

TEST(ParseSourceSpec, ErrorsTeach) {
  const struct {
    const char* text;
    const char* says;
  } kRows[] = {
      {"", "write jsonl:FILE"},
      {"orders.jsonl", "write jsonl:FILE"},
      {"jsonl:", "jsonl:/data/orders.jsonl"},
      {"table:?id=a&value=b", "schema.table"},
      {"table:a.b.c?id=a&value=b", "schema.table"},
      {"table:t?value=b", "both id= and value="},
      {"table:t?id=a", "both id= and value="},
      {"table:t?id=a&value=b&id=c", "given twice"},
      {"table:t?id=a&value=b&order=c", "known are id, value, key, xid, where"},
      {"table:t?id=a&value=", "has no value"},
      {"table:t?id=a&value=b&where=%4", "%25"},
  };
  for (const auto& row : kRows) {
    const auto spec = ParseSourceSpec(row.text);
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << row.text;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr(row.says)) << row.text;
  }
}

TEST(ParseSourceSpec, ReadsAPika) {
  const auto spec = [](const char* text) {
    return std::get<PikaSpec>(ParseSourceSpec(text)->kind);
  };
  EXPECT_EQ(spec("pika://10.0.0.1:9221"), (PikaSpec{"10.0.0.1", 9221, "", PikaProtocol::kAuto}));
  EXPECT_EQ(spec("pika://p.example:9221?protocol=pb&db=db1"),
            (PikaSpec{"p.example", 9221, "db1", PikaProtocol::kPb}));
  EXPECT_EQ(spec("pika://[::1]:1?protocol=auto").Address(), "[::1]:1");
  EXPECT_EQ(spec("pika://h:1?protocol=legacy").protocol, PikaProtocol::kLegacy);
  const pika::PikaFilter filter =
      spec("pika://h:1?db=db0&commands=SET,del&keys=user:*,a%2Cb%26*,q?&exclude-keys=*%25").filter;
  EXPECT_TRUE(filter.Passes("set", pika::DataType::kString, "user:1"));
  EXPECT_TRUE(filter.Passes("del", pika::DataType::kKey, "a,b&1"));
  EXPECT_TRUE(filter.Passes("set", pika::DataType::kString, "qx"));
  EXPECT_FALSE(filter.Passes("set", pika::DataType::kString, "a"));
  EXPECT_FALSE(filter.Passes("set", pika::DataType::kString, "user:1%"));
  EXPECT_FALSE(filter.Passes("hset", pika::DataType::kHash, "user:1"));
  EXPECT_FALSE(spec("pika://h:1?types=hash").filter.Passes("set", pika::DataType::kString, "k"));
  const struct {
    const char* text;
    const char* says;
  } rows[] = {
      {"pika://", "write pika://HOST:PORT"},
      {"pika://h", "write pika://HOST:PORT"},
      {"pika://h:63536", "write pika://HOST:PORT"},
      {"pika://:pw@h:1", "write pika://HOST:PORT"},
      {"pika://h:1?db=", "a database's name"},
      {"pika://h:1?db=db0&db=db1", "given twice"},
      {"pika://h:1?protocol=x", "auto, pb or legacy"},
      {"pika://h:1?password=x", "unknown option 'password'; known are db, protocol, commands"},
      {"pika://h:1?commands=set,sett", "commands=: 'sett' is no command"},
      {"pika://h:1?commands=", "commands=: '' is no command"},
      {"pika://h:1?types=set,", "types=: '' is no data type"},
      {"pika://h:1?types", "types=: '' is no data type"},
      {"pika://h:1?keys=a,,b", "keys=: an empty pattern"},
      {"pika://h:1?keys=a&keys=b", "option 'keys' is given twice; separate its values by commas"},
      {"pika://h:1?keys=%4", "%25"},
  };
  for (const auto& row : rows) {
    EXPECT_THAT(std::string(ParseSourceSpec(row.text).status().message()), HasSubstr(row.says))
        << row.text;
  }
}

TEST(ParseSourceSpec, SaysSoOfSourcesThatThisVersionDoesNotRead) {
  for (const char* text : {"postgres://db/shop", "postgresql://db/shop"}) {
    EXPECT_EQ(ParseSourceSpec(text).status().code(), absl::StatusCode::kUnimplemented) << text;
  }
}

TEST(RegisteredSourceTest, APikaIsKnownByItsIdAndDatabase) {
  const auto registered = [](const char* text, const char* id) {
    return RegisteredSource(ParseSourceSpec(text).value(), id);
  };
  EXPECT_EQ(registered("pika://10.0.0.2:9221", ""), "pika://10.0.0.2:9221");
  EXPECT_EQ(registered("pika://10.0.0.2:9221?protocol=pb&db=db0", ""),
            "pika://10.0.0.2:9221?db=db0");
  EXPECT_EQ(registered("pika://10.0.0.2:9221?db=db0", "10.0.0.1:9221"),
            registered("pika://10.0.0.1:9221?db=db0", ""));
  EXPECT_EQ(registered("pika://[::1]:9221", "orders"), "pika://orders");
  // Filters decide what the payloads are.
  EXPECT_EQ(registered("pika://h:1?keys=a%2C*,b&protocol=pb&db=db0&types=hash", "orders"),
            "pika://orders?db=db0&keys=a%2C*,b&types=hash");
  EXPECT_EQ(registered("pika://h:1?types=hash", ""), "pika://h:1?types=hash");
  EXPECT_EQ(registered("jsonl:/data/a", "orders"), "jsonl:/data/a");
  const PikaSpec parsed = ParseRegisteredPika("pika://orders?db=db1&keys=a*").value();
  EXPECT_EQ(parsed.database, "db1");
  EXPECT_EQ(parsed.filter_text, "keys=a*");
  EXPECT_EQ(parsed.host, "");
  EXPECT_TRUE(ParseRegisteredPika("pika://orders").ok());
  EXPECT_TRUE(IsRegisteredPika("pika://orders"));
  EXPECT_FALSE(IsRegisteredPika("jsonl:pika://"));
}

}  // namespace
}  // namespace lockstep
