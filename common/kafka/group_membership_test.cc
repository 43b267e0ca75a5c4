// Two members of one group on an in-process broker.
#include "common/kafka/group_membership.h"

#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/mock_cluster.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::SizeIs;
using Kind = GroupMembership::Change::Kind;

constexpr char kTopic[] = "orders";
constexpr int32_t kPartitions = 6;

class GroupMembershipTest : public testing::Test {
 protected:
  // A member that accepts at once, unless it `holds` what is taken away.
  struct Member {
    std::unique_ptr<GroupMembership> membership;
    std::set<int32_t> held;
    bool holds = false;
    bool holding = false;  // A change waits for Accept.

    void Serve() {
      const auto change = membership->Poll();
      ASSERT_TRUE(change.ok()) << change.status();
      if (!change->has_value()) return;
      const bool assigned = (*change)->kind == Kind::kAssigned;
      for (const int32_t partition : (*change)->partitions) {
        assigned ? static_cast<void>(held.insert(partition))
                 : static_cast<void>(held.erase(partition));
      }
      holding = holds && !assigned;
      if (!holding) Accept();
    }
    void Accept() {
      holding = false;
      const absl::Status accepted = membership->Accept();
      EXPECT_TRUE(accepted.ok()) << accepted;
    }
  };

  void SetUp() override {
    auto cluster = MockCluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = std::move(*cluster);
    ASSERT_TRUE(cluster_->CreateTopic(kTopic, kPartitions).ok());
  }
  Member Join() {
    KafkaMembershipOptions options;
    options.kafka.brokers = cluster_->brokers();
    options.kafka.properties = {{"session.timeout.ms", "6000"}, {"heartbeat.interval.ms", "100"}};
    options.group = "g";
    options.topic = kTopic;
    auto joined = JoinKafkaGroup(options);
    EXPECT_TRUE(joined.ok()) << joined.status();
    Member member;
    member.membership = std::move(*joined);
    return member;
  }
  static bool Until(const std::vector<Member*>& members, const std::function<bool()>& condition) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && steady_clock::now() < deadline) {
      for (Member* const member : members) member->Serve();
      std::this_thread::sleep_for(milliseconds(5));
    }
    return condition();
  }

  std::unique_ptr<MockCluster> cluster_;
};

// What is taken away stays ours until Accept: the other is not given it before.
TEST_F(GroupMembershipTest, MembersShareTheTopicAndNothingIsGivenAwayBeforeItIsAccepted) {
  Member a = Join();
  ASSERT_TRUE(Until({&a}, [&] { return a.held.size() == kPartitions; }));
  a.holds = true;
  Member b = Join();
  ASSERT_TRUE(Until({&a, &b}, [&] { return a.holding; }));
  EXPECT_THAT(a.held, SizeIs(3));
  // For what must not happen there is no condition to wait for.
  const auto until = steady_clock::now() + std::chrono::seconds(1);
  Until({&a, &b}, [&] { return !b.held.empty() || steady_clock::now() > until; });
  EXPECT_THAT(b.held, SizeIs(0)) << "it was still in use";
  a.Accept();
  EXPECT_TRUE(Until({&a, &b}, [&] { return b.held.size() == 3; }));
  for (const int32_t partition : a.held) EXPECT_FALSE(b.held.contains(partition));
  b.membership->Leave();
  b.membership->Leave();  // Harmless.
  EXPECT_TRUE(Until({&a}, [&] { return a.held.size() == kPartitions; }));
}

TEST_F(GroupMembershipTest, AChangeNobodyAcceptedDoesNotHoldUpLeaving) {
  Member a = Join();
  ASSERT_TRUE(Until({&a}, [&] { return a.held.size() == kPartitions; }));
  a.holds = true;
  Member b = Join();
  ASSERT_TRUE(Until({&a, &b}, [&] { return a.holding; }));
  a.membership->Leave();
  EXPECT_TRUE(Until({&b}, [&] { return b.held.size() == kPartitions; }));
}

TEST_F(GroupMembershipTest, ASettingThatThePartsRestOnCannotBeOverridden) {
  KafkaMembershipOptions options;
  options.kafka.brokers = cluster_->brokers();
  options.kafka.properties = {{"partition.assignment.strategy", "range"}};
  options.group = "g";
  options.topic = kTopic;
  EXPECT_EQ(JoinKafkaGroup(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lockstep
