#include "reorder/kafka_log_fetcher.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

namespace lockstep {
namespace {

// A broker that can be connected to and never says a word.
class SilentBroker {
 public:
  SilentBroker() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    listens_ = bind(socket_, any, size) == 0 && listen(socket_, 8) == 0 &&
               getsockname(socket_, any, &size) == 0;
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~SilentBroker() { close(socket_); }

  bool listens() const { return listens_; }
  const std::string& address() const { return address_; }

 private:
  const int socket_;
  bool listens_ = false;
  std::string address_;
};

// It is waited for ten seconds, but not against a stop.
TEST(KafkaLogFetcherTest, AStopEndsTheWaitingForABroker) {
  const SilentBroker broker;
  ASSERT_TRUE(broker.listens());
  KafkaLogFetcher fetcher({.kafka = {.brokers = broker.address()}, .topics = {"t"}});
  int asked = 0;
  fetcher.StopWhen([&] { return ++asked > 1; });
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status =
      fetcher.Fetch(0, Offset(0), Offset(1), [](const FetchedRecord&) { return absl::OkStatus(); });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(asked, 2) << status;
}

}  // namespace
}  // namespace lockstep
