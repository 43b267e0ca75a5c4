#include "mirror-reconcile/payload_spec.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

std::string Read(std::string_view text) {
  const auto spec = ParsePayloadSpec(text);
  if (!spec.ok()) return "refused";
  std::string kind = "source";
  if (std::holds_alternative<LedgerPayloadSpec>(spec->kind)) kind = "ledger";
  if (const auto* log = std::get_if<LogPayloadSpec>(&spec->kind)) {
    kind = "log " + log->topic + " at " + log->brokers;
  }
  if (const auto* wal = std::get_if<WalPayloadSpec>(&spec->kind)) kind = "wal " + wal->directory;
  return "[" + spec->producer + "] " + kind;
}

TEST(PayloadSpecTest, ProducerIsThereIffEqualsComesBeforeColon) {
  struct Row {
    const char* text;
    const char* read;
  };
  const Row rows[] = {
      {"ledger", "[] ledger"},
      {"A=ledger", "[A] ledger"},
      {"jsonl:/data/a=b.jsonl", "[] source"},
      {"A=jsonl:/data/a.jsonl", "[A] source"},
      {"table:public.t?id=id&value=v", "[] source"},
      {"A=table:public.t?id=id&value=v", "[A] source"},
      {"a%3Db%3Ac%25=ledger", "[a=b:c%] ledger"},
      {"log:orders@h1:9092,h2:9092", "[] log orders at h1:9092,h2:9092"},
      {"A=log:p.orders@h:1", "[A] log p.orders at h:1"},
      {"log:orders", "refused"},
      {"log:@h:1", "refused"},
      {"=ledger", "refused"},
      {"a%3=ledger", "refused"},
      {"a%zz=ledger", "refused"},
      {"ledgers", "refused"},
      {"", "refused"},
      {"wal:/var/lib/a", "[] wal /var/lib/a"},
      {"A=wal:a=b", "[A] wal a=b"},
      {"wal:", "refused"},
      {"pika://h:1", "[] source"},
      {"A=pika://h:1?db=db0", "[A] source"},
      {"pika://h", "refused"},
  };
  for (const Row& row : rows) EXPECT_EQ(Read(row.text), row.read) << row.text;
}

}  // namespace
}  // namespace lockstep
