#include "mirror-reconcile/site_topics.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

// The mirrored topic, which topics exist of those that matter, which are missing.
std::string Choose(const std::vector<std::string>& names, const std::string& mirror_topic = "",
                   int32_t partition_count = 2) {
  std::vector<TopicInfo> topics;
  for (const std::string& name : names) topics.push_back({name, 2, 1});
  const auto choice = ChooseTopics(topics, "orders", mirror_topic, partition_count);
  if (!choice.ok()) return "refused";
  std::string text = choice->mirrored + ":";
  for (const TopicInfo& topic : choice->present) text += " " + topic.name;
  for (const std::string& topic : choice->missing) text += " -" + topic;
  return text;
}

TEST(SiteTopicsTest, BothPoliciesAndNoMirrorAreSeenByTheNames) {
  EXPECT_EQ(Choose({"orders", "other"}), "orders: orders") << "identity policy";
  EXPECT_EQ(Choose({"p.orders"}), "p.orders: p.orders -orders") << "default policy";
  EXPECT_EQ(Choose({"p.orders", "orders"}), "p.orders: p.orders orders");
  EXPECT_EQ(Choose({"other", "preorders"}), "orders: -orders") << "no mirror";
}

TEST(SiteTopicsTest, SeveralMirrorsMustBeToldApart) {
  EXPECT_EQ(Choose({"p.orders", "q.orders"}), "refused");
  EXPECT_EQ(Choose({"p.orders", "q.orders"}, "q.orders"), "q.orders: q.orders -orders");
  EXPECT_EQ(Choose({"p.orders", "orders"}, "orders"), "orders: orders");
}

TEST(SiteTopicsTest, FewerPartitionsThanTheLedgersAreRefused) {
  EXPECT_EQ(Choose({"orders"}, "", 2), "orders: orders");
  EXPECT_EQ(Choose({"orders"}, "", 3), "refused");
}

}  // namespace
}  // namespace lockstep
