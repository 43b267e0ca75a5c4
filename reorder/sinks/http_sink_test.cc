// The HTTP sink with servers that do as they should, and with those that do not.
#include "reorder/sinks/http_sink.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/mutex.h"
#include "reorder/sinks/sink_host_test.h"

#include <openssl/x509v3.h>

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::ElementsAre;
using testing::HasSubstr;

ReadyRecord MakeRecord(int64_t seq, int64_t offset, std::string_view producer) {
  ReadyRecord record;
  record.position = {Epoch(2), Offset(offset)};
  record.producer = producer;
  record.term = Term(1);
  record.seq = Seq(seq);
  record.view.value = "v";
  return record;
}

ReadyRecord MakeRecord(int64_t seq) { return MakeRecord(seq, 100 + seq, "A"); }

// What a server got, in order, as `KEY:records`, with `?` if in doubt.
class Requests {
 public:
  void Take(const httplib::Request& request) {
    MutexLock lock(mu_);
    const std::vector<std::string> lines = absl::StrSplit(request.body, '\n', absl::SkipEmpty());
    EXPECT_EQ(request.get_header_value("Lockstep-Records"), std::to_string(lines.size()));
    EXPECT_EQ(request.get_header_value("Lockstep-Stream"), "orders/0");
    const std::string key = request.get_header_value("Idempotency-Key");
    told_.push_back(absl::StrCat(key, ":", lines.size(),
                                 request.has_header("Lockstep-In-Doubt") ? "?" : "",
                                 request.has_header("Lockstep-Replayed") ? " again" : ""));
    EXPECT_EQ(bodies_.emplace(key, request.body).first->second, request.body) << "a key, a body";
    last_ = request;
  }
  std::vector<std::string> told() {
    MutexLock lock(mu_);
    return told_;
  }
  httplib::Request last() {
    MutexLock lock(mu_);
    return last_;
  }

 private:
  Mutex mu_;
  std::vector<std::string> told_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> bodies_ ABSL_GUARDED_BY(mu_);
  httplib::Request last_ ABSL_GUARDED_BY(mu_);
};

// Answers with these statuses in turn, then with 200.
class Server {
 public:
  explicit Server(std::unique_ptr<httplib::Server> server = std::make_unique<httplib::Server>())
      : server_(std::move(server)) {
    server_->Post("/in", [this](const httplib::Request& request, httplib::Response& response) {
      requests.Take(request);
      int status = statuses.empty() ? 200 : statuses.front();
      if (judge) status = judge(request);
      if (!statuses.empty()) statuses.pop_front();
      if (status == 302) response.set_header("Location", "http://elsewhere/in?token=secret");
      if (before_answer) before_answer();
      response.status = status;
      response.set_content(absl::StrCat("said ", status), "text/plain");
    });
    server_->set_keep_alive_timeout(1);
    port = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  ~Server() {
    server_->stop();
    thread_.join();
  }

  Requests requests;
  // The server's threads', one request at a time.
  std::deque<int> statuses;
  std::function<int(const httplib::Request&)> judge;  // Instead of those.
  std::function<void()> before_answer;                // The same.
  int port = 0;

 private:
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

// Reads a request and answers with bytes as they are, a connection each; the last for ever.
class RawServer {
 public:
  explicit RawServer(std::vector<std::string> answers) : answers_(std::move(answers)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~RawServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  int port = 0;
  std::atomic<int> served{0};

 private:
  void Serve() {
    for (size_t i = 0;; i = std::min(i + 1, answers_.size() - 1)) {
      const int connection = accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      char bytes[4096];
      std::string request;
      // Headers and a body that ends with `}`.
      while (!request.ends_with("}")) {
        const ssize_t count = read(connection, bytes, sizeof(bytes));
        if (count <= 0) break;
        request.append(bytes, static_cast<size_t>(count));
      }
      EXPECT_EQ(write(connection, answers_[i].data(), answers_[i].size()),
                static_cast<ssize_t>(answers_[i].size()));
      close(connection);
      ++served;
    }
  }
  const std::vector<std::string> answers_;
  int listener_ = -1;
  std::thread thread_;
};

class HttpSinkTest : public testing::Test {
 protected:
  HttpSinkTest() { std::signal(SIGPIPE, SIG_IGN); }  // NOLINT(cert-err33-c)

  void Open(int port, int64_t records_per_request = 1, bool by_producer = false) {
    HttpSinkOptions options;
    options.target = {tls_, "127.0.0.1", port, "/in"};
    options.stream = {"orders", 0};
    options.records_per_request = records_per_request;
    options.by_producer = by_producer;
    options.headers = {{"Authorization", "Bearer x"}};
    options.ca_file = ca_file_;
    options.answer_max = milliseconds(300);
    options.pause_min = milliseconds(10);
    options.pause_max = milliseconds(40);
    sink_ = std::make_unique<HttpSink>(options);
    sink_->Attach(host_);
  }
  absl::Status Send(int64_t first, int64_t last, bool in_doubt = false) {
    std::vector<ReadyRecord> records;
    for (int64_t seq = first; seq <= last; ++seq) records.push_back(MakeRecord(seq));
    for (ReadyRecord& record : records) record.in_doubt = in_doubt;
    const absl::Status written = sink_->Write(records);
    return written.ok() ? sink_->Sync() : written;
  }
  static Position At(int64_t seq) { return MakeRecord(seq).position; }

  bool tls_ = false;
  std::string ca_file_;
  FakeSinkHost host_;
  std::unique_ptr<HttpSink> sink_;
};

TEST_F(HttpSinkTest, EachRecordIsARequestWithItsKey) {
  Server server;
  Open(server.port);
  ASSERT_EQ(Send(1, 3), absl::OkStatus());
  EXPECT_THAT(server.requests.told(),
              ElementsAre("orders/0/A/1:1", "orders/0/A/2:1", "orders/0/A/3:1"));
  const httplib::Request last = server.requests.last();
  EXPECT_EQ(last.get_header_value("Content-Type"), "application/json");
  EXPECT_EQ(last.get_header_value("Authorization"), "Bearer x");
  EXPECT_EQ(last.get_header_value("Lockstep-Last"), "2:103");
  EXPECT_THAT(last.body, HasSubstr(R"({"stream":"orders/0","epoch":2,"offset":103,)"));
  EXPECT_TRUE(last.body.ends_with("}"));
  EXPECT_EQ(sink_->KnownDone(), At(3));
}

TEST_F(HttpSinkTest, ABatchHasTheKeyOfItsLastRecord) {
  Server server;
  Open(server.port, 4);
  ASSERT_EQ(Send(1, 10), absl::OkStatus());
  EXPECT_THAT(server.requests.told(),
              ElementsAre("orders/0/A/4:4", "orders/0/A/8:4", "orders/0/A/10:2"));
  EXPECT_EQ(server.requests.last().get_header_value("Content-Type"), "application/x-ndjson");
  EXPECT_TRUE(server.requests.last().body.ends_with("}\n"));
}

TEST_F(HttpSinkTest, WhatWasInDoubtSaysSoInAHeaderAndHasTheSameBody) {
  Server server;
  Open(server.port, 3);
  ASSERT_EQ(Send(1, 3), absl::OkStatus());
  ASSERT_EQ(Send(1, 3, /*in_doubt=*/true), absl::OkStatus());  // Requests compares the bodies.
  EXPECT_THAT(server.requests.told(), ElementsAre("orders/0/A/3:3", "orders/0/A/3:3?"));
}

TEST_F(HttpSinkTest, WhatIsReplayedGoesApartFromWhatIsNew) {
  Server server;
  Open(server.port, 100);
  std::vector<ReadyRecord> records = {MakeRecord(1), MakeRecord(2), MakeRecord(3)};
  records[0].replayed = records[1].replayed = true;
  ASSERT_EQ(sink_->Write(records), absl::OkStatus());
  EXPECT_THAT(server.requests.told(), ElementsAre("orders/0/A/2:2 again", "orders/0/A/3:1"));
  EXPECT_THAT(server.requests.last().body, testing::Not(HasSubstr("replayed")));
}

// Drops repeats as sinks.md has it for --mode per-producer: by producer and seq, and a key that it
// knows is done.
class Deduplicator {
 public:
  int operator()(const httplib::Request& request) {
    if (!keys_.insert(request.get_header_value("Idempotency-Key")).second) return 409;
    const std::vector<std::string> lines = absl::StrSplit(request.body, '\n', absl::SkipEmpty());
    for (const std::string& line : lines) {
      const std::string producer(Field(line, "\"producer\":\"", '"'));
      const int64_t seq = std::stoll(std::string(Field(line, "\"seq\":", ',')));
      if (seq <= last_[producer]) continue;
      taken.push_back(absl::StrCat(producer, seq));
      last_[producer] = seq;
    }
    return 200;
  }
  std::vector<std::string> taken;

 private:
  static std::string_view Field(std::string_view line, std::string_view name, char end) {
    line.remove_prefix(line.find(name) + name.size());
    return line.substr(0, line.find(end));
  }
  std::set<std::string> keys_;
  std::map<std::string, int64_t> last_;
};

// [10] A4  [11] B7  [12] A5: B7's row comes late.
TEST_F(HttpSinkTest, InEachProducersOrderARequestVouchesForOneProducerOnly) {
  const ReadyRecord a4 = MakeRecord(4, 10, "A");
  const ReadyRecord b7 = MakeRecord(7, 11, "B");
  const ReadyRecord a5 = MakeRecord(5, 12, "A");
  Deduplicator outside;
  Server server;
  server.judge = std::ref(outside);
  Open(server.port, 100, /*by_producer=*/true);
  ASSERT_EQ(sink_->Write(std::vector<ReadyRecord>({a4, a5})), absl::OkStatus());
  EXPECT_THAT(server.requests.told(), ElementsAre("orders/0/A/5:2"));

  // The gate dies before it knows of that, and the next one finds all rows there. Were they one
  // request, its key would be known, and B7 lost.
  Server again;
  again.judge = std::ref(outside);
  Open(again.port, 100, /*by_producer=*/true);
  ASSERT_EQ(sink_->Write(std::vector<ReadyRecord>({a4, b7, a5})), absl::OkStatus());
  EXPECT_THAT(again.requests.told(),
              ElementsAre("orders/0/A/4:1", "orders/0/B/7:1", "orders/0/A/5:1"));
  EXPECT_THAT(outside.taken, ElementsAre("A4", "A5", "B7"));
  EXPECT_EQ(sink_->KnownDone(), a5.position);
}

// B7 lies below A5, and is new: a server that goes by positions must not find any.
TEST_F(HttpSinkTest, InEachProducersOrderARequestNamesNoPosition) {
  for (const int64_t records : {1, 100}) {
    Server server;
    Open(server.port, records, /*by_producer=*/true);
    ASSERT_EQ(Send(1, 1), absl::OkStatus());
    EXPECT_FALSE(server.requests.last().has_header("Lockstep-Last"));
  }
}

TEST_F(HttpSinkTest, AServerThatFailsIsAskedAgainWithTheSame) {
  Server server;
  server.statuses = {500, 503, 429, 408, 200, 409};
  Open(server.port);
  ASSERT_EQ(Send(1, 2), absl::OkStatus());
  const std::string first = "orders/0/A/1:1";
  EXPECT_THAT(server.requests.told(),
              ElementsAre(first, first, first, first, first, "orders/0/A/2:1"));
  EXPECT_THAT(host_.waits_for(), HasSubstr("/in (it answers 408 \"said 408\")"));
}

TEST_F(HttpSinkTest, OneThatHangsIsAskedAgain) {
  Server server;
  std::atomic<int> hangs{2};
  server.before_answer = [&] {
    if (hangs-- > 0) std::this_thread::sleep_for(milliseconds(600));
  };
  Open(server.port);
  ASSERT_EQ(Send(1, 1), absl::OkStatus());
  EXPECT_THAT(host_.waits_for(), HasSubstr("no answer in time"));
  EXPECT_EQ(server.requests.told().size(), 3U);
}

TEST_F(HttpSinkTest, HalfAnswersAndGarbageAreAskedAgain) {
  RawServer server({"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 2",
                    "\x7f\x45\x4c\x46 garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nConte",
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
  Open(server.port);
  ASSERT_EQ(Send(1, 1), absl::OkStatus());
  EXPECT_EQ(sink_->KnownDone(), At(1));
  EXPECT_EQ(server.served, 6);
}

TEST_F(HttpSinkTest, OneThatIsNotThereYetIsWaitedFor) {
  int port = 0;
  {
    Server gone;
    port = gone.port;
  }
  Open(port);
  host_.StopIn(milliseconds(200));
  const auto start = steady_clock::now();
  const absl::Status status = Send(1, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stopped while it was away"));
  EXPECT_GE(steady_clock::now() - start, milliseconds(190));
  EXPECT_LT(steady_clock::now() - start, milliseconds(3'000));
  EXPECT_EQ(sink_->KnownDone(), std::nullopt);
}

TEST_F(HttpSinkTest, AStopEndsARequestThatHangs) {
  Server server;
  std::atomic<bool> release{false};
  server.before_answer = [&] {
    const auto give_up = steady_clock::now() + std::chrono::seconds(10);
    while (!release && steady_clock::now() < give_up) std::this_thread::yield();
  };
  HttpSinkOptions options;
  options.target = {false, "127.0.0.1", server.port, "/in"};
  options.stream = {"orders", 0};
  options.answer_max = std::chrono::seconds(30);
  sink_ = std::make_unique<HttpSink>(options);
  sink_->Attach(host_);
  host_.StopIn(milliseconds(200));
  const auto start = steady_clock::now();
  EXPECT_EQ(Send(1, 1).code(), absl::StatusCode::kCancelled);
  EXPECT_LT(steady_clock::now() - start, milliseconds(5'000));
  release = true;
}

TEST_F(HttpSinkTest, AStopEndsABatchThatTakesTooLongBehindWhatIsDone) {
  Server server;
  server.before_answer = [] { std::this_thread::sleep_for(milliseconds(20)); };
  Open(server.port);
  host_.StopIn(milliseconds(200));
  EXPECT_EQ(Send(1, 1'000).code(), absl::StatusCode::kCancelled);
  const auto count = static_cast<int64_t>(server.requests.told().size());
  EXPECT_LT(count, 100);
  ASSERT_TRUE(sink_->KnownDone().has_value());
  EXPECT_LE(*sink_->KnownDone(), At(count));
}

TEST_F(HttpSinkTest, ARefusalStopsItBehindWhatIsDone) {
  Server server;
  server.statuses = {200, 400};
  Open(server.port);
  const absl::Status status = Send(1, 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("it refuses the request of key orders/0/A/2 (2:102) with 400 \"said 400\"; "
                        "nothing behind it was sent"));
  EXPECT_EQ(sink_->KnownDone(), At(1));
  EXPECT_EQ(server.requests.told().size(), 2U);
}

TEST_F(HttpSinkTest, ARedirectIsNotFollowed) {
  Server server;
  server.statuses = {302};
  Open(server.port);
  const absl::Status status = Send(1, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"http://elsewhere/in\""));
  EXPECT_EQ(server.requests.told().size(), 1U);
}

TEST_F(HttpSinkTest, AnAnswerWithoutEndIsNotKept) {
  RawServer server({absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
                                 std::string(2 << 20, 'x')),
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
  Open(server.port);
  ASSERT_EQ(Send(1, 1), absl::OkStatus());
}

TEST_F(HttpSinkTest, ALongAnswerIsAnAnswer) {
  const std::string page(2 << 20, 'x');
  const std::string length = absl::StrCat("Content-Length: ", page.size(), "\r\n\r\n", page);
  RawServer server({absl::StrCat("HTTP/1.1 200 OK\r\n", length),
                    absl::StrCat("HTTP/1.1 400 Bad Request\r\n", length)});
  Open(server.port);
  ASSERT_EQ(Send(1, 1), absl::OkStatus());
  EXPECT_EQ(Send(2, 2).code(), absl::StatusCode::kInvalidArgument);
}

// ---------------------------------------------------------------- TLS

// A certificate for 127.0.0.1 that signs itself.
struct Certificate {
  Certificate() : key(EVP_RSA_gen(2048)), certificate(X509_new()) {
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME* const name = X509_get_subject_name(certificate);
    const auto* const text = reinterpret_cast<const unsigned char*>("127.0.0.1");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_EXTENSION* const san =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(certificate, san, -1);
    X509_EXTENSION_free(san);
    X509_sign(certificate, key, EVP_sha256());
  }
  ~Certificate() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  EVP_PKEY* key;
  X509* certificate;
};

TEST_F(HttpSinkTest, OnlyATrustedCertificateGetsRecords) {
  const Certificate certificate;
  std::string path = std::filesystem::temp_directory_path() / "lockstep-ca-XXXXXX";
  FILE* const file = fdopen(mkstemp(path.data()), "w");
  ASSERT_NE(file, nullptr);
  PEM_write_X509(file, certificate.certificate);
  fclose(file);
  Server server(std::make_unique<httplib::SSLServer>(certificate.certificate, certificate.key));
  tls_ = true;

  Open(server.port);
  const absl::Status status = Send(1, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("its certificate is not trusted; --sink-ca"));
  EXPECT_TRUE(server.requests.told().empty());

  ca_file_ = path;
  Open(server.port);
  EXPECT_EQ(Send(1, 1), absl::OkStatus());
  EXPECT_THAT(server.requests.told(), ElementsAre("orders/0/A/1:1"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace lockstep
