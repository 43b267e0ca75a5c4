#include "reorder/discover.h"

#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/mock_cluster.h"
#include "db-ledger/memory_ledger.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A topic of three partitions.
class DiscoverTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = MockCluster::Start();
    ASSERT_TRUE(started.ok()) << started.status();
    cluster_ = *std::move(started);
    ASSERT_TRUE(cluster_->CreateTopic("orders", 3).ok());
    options_.brokers = cluster_->brokers();
    options_.topic = "orders";
  }

  void OpenOnPartition(int32_t partition) {
    OpenProducerRequest request;
    request.producer = "A";
    request.source = "jsonl:a";
    request.topic = request.log_topic = "orders";
    request.partition_count = 3;
    request.partitions.push_back({partition, Offset(0)});
    request.cluster_id = "here";
    const auto opened = ledger_.OpenProducer(request);
    ASSERT_TRUE(opened.committed()) << opened.why;
  }

  Discovered Find(Reads reads) {
    auto found = Discover(options_, ledger_, reads);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *std::move(found) : Discovered();
  }

  static StreamEngineOptions InRecover() {
    StreamEngineOptions engine;
    engine.mode = ReorderMode::kRecover;
    return engine;
  }

  const StreamName first_{"orders", 0}, second_{"orders", 1}, third_{"orders", 2};
  std::unique_ptr<MockCluster> cluster_;
  CommonOptions options_;
  LedgerState state_;
  MemoryLedger ledger_{&state_, kAllRules, "admin"};
};

TEST_F(DiscoverTest, WhoFollowsATopicGetsAllItsPartitions) {
  OpenOnPartition(1);
  const Discovered found = Find(Reads::kFollows);
  EXPECT_THAT(found.streams, ElementsAre(first_, second_, third_));
  EXPECT_THAT(found.unused, ElementsAre(first_, third_));
  EXPECT_THAT(Find(Reads::kToTheEnd).streams, ElementsAre(second_));
}

TEST_F(DiscoverTest, OfAnUnusedStreamNoCursorIsMissing) {
  OpenOnPartition(1);
  const Discovered found = Find(Reads::kFollows);
  EXPECT_TRUE(Placed(InRecover(), options_, found, first_).from_start);
  EXPECT_FALSE(Placed(InRecover(), options_, found, second_).from_start);
}

// A recovery of the wrong topic has no cursor, and has to say so.
TEST_F(DiscoverTest, WhereTheLedgerKnowsNothingOfATopicNothingIsUnused) {
  const Discovered found = Find(Reads::kFollows);
  EXPECT_THAT(found.streams, ElementsAre(first_, second_, third_));
  EXPECT_THAT(found.unused, IsEmpty());
  EXPECT_FALSE(Placed(InRecover(), options_, found, first_).from_start);
}

}  // namespace
}  // namespace lockstep
