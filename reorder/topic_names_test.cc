#include "reorder/topic_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::ElementsAre;

TEST(TopicNamesTest, TheLocalNameAndTheOneMirror) {
  EXPECT_THAT(FindTopics("orders", "", {"orders", "other"}, {}).value(), ElementsAre("orders"));
  EXPECT_THAT(FindTopics("orders", "", {"p.orders"}, {}).value(), ElementsAre("p.orders"));
  EXPECT_THAT(FindTopics("orders", "", {"orders", "p.orders"}, {}).value(),
              ElementsAre("orders", "p.orders"));
  EXPECT_THAT(FindTopics("orders", "p.orders", {"orders", "p.orders", "q.orders"}, {}).value(),
              ElementsAre("orders", "p.orders"));
}

TEST(TopicNamesTest, AStreamOfItsOwnIsNoMirror) {
  EXPECT_THAT(FindTopics("orders", "", {"orders", "eu.orders"}, {"orders", "eu.orders"}).value(),
              ElementsAre("orders"));
}

TEST(TopicNamesTest, DoesNotGuess) {
  EXPECT_EQ(FindTopics("orders", "", {"p.orders", "q.orders"}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FindTopics("orders", "", {"x"}, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindTopics("orders", "p.orders", {"orders"}, {}).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace lockstep
