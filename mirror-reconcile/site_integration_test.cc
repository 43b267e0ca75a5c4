// The program's parts between two in-process Kafka clusters and a real PostgreSQL pair: a primary
// whose producers write instructions kept in a table, a mirror that is late, a site that dies.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/kafka/kafka_producer.h"
#include "common/kafka/mock_cluster.h"
#include "db-ledger/postgres_ledger.h"
#include "db-ledger/schema.h"
#include "mirror-reconcile/commands.h"
#include "mirror-reconcile/kafka_log_reader.h"
#include "mirror-reconcile/kafka_record_sink.h"
#include "mirror-reconcile/readiness.h"
#include "mirror-reconcile/session.h"
#include "mirror-reconcile/verify.h"
#include "producer/pika/run_notes.h"
#include "producer/sources/pika_source.h"
#include "producer/wal/wal.h"
#include "tests/support/pika_master.h"
#include "tests/support/postgres_pair.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr char kSource[] = "table:public.instructions_";

// One pair for all tests that do not kill it, a database and two clusters for each.
class SiteTest : public testing::Test {
 protected:
  virtual PostgresPair* Pair() {
    static const std::unique_ptr<PostgresPair> pair = PostgresPair::Start().value();
    return pair.get();
  }

  void SetUp() override {
    static int count = 0;
    database_ = absl::StrCat("bank", ++count);
    pair_ = Pair();
    ASSERT_TRUE(pair_->CreateDatabase(database_).ok());
    ASSERT_TRUE(pair_
                    ->AwaitSql(PostgresPair::kStandby, "postgres",
                               absl::StrCat("select count(*) from pg_database where datname = '",
                                            database_, "'"),
                               "1")
                    .ok());
    const auto hosts = ParsePgHosts(pair_->ConninfoOf(PostgresPair::kPrimary, database_), "test");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    auto connection = PgConnection::Open(*hosts, PgRole::kPrimary, deadline);
    ASSERT_TRUE(connection.ok()) << connection.status();
    const auto installed = InstallSchema(**connection, false, deadline);
    ASSERT_TRUE(installed.ok()) << installed.status();
    p_ = MockCluster::Start().value();
    s_ = MockCluster::Start().value();
    ASSERT_TRUE(p_->CreateTopic("orders", 1).ok());
    ASSERT_TRUE(s_->CreateTopic("orders", 1).ok());
    PostgresLedgerOptions options;
    options.ledger = pair_->Conninfo(database_);
    auto ledger = PostgresLedger::Connect(options);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = std::move(ledger).value();
    for (const char* name : {"a", "b"}) Open(name);
  }

  struct Writer {
    ProducerId id;
    StreamId stream;
    Term term;
    Seq last;
  };

  void Open(const std::string& name) {
    ASSERT_TRUE(pair_
                    ->Sql(PostgresPair::kPrimary, database_,
                          absl::StrCat("create table public.instructions_", name,
                                       "(id bigserial primary key, what text not null)"))
                    .ok());
    OpenProducer(name, absl::StrCat(kSource, name, "?id=id&value=what"));
  }

  void OpenProducer(const std::string& name, const std::string& source) {
    KafkaRecordSinkOpen();
    const std::string cluster_id = ClusterId(*p_);
    const auto opened =
        ledger_->OpenProducer({name, source, "orders", 1, {{0, Offset(0)}}, cluster_id, "orders"});
    ASSERT_TRUE(opened.committed()) << opened.why;
    writers_[name] = {opened.value.producer, opened.value.streams[0].stream,
                      opened.value.streams[0].term, opened.value.streams[0].last_seq};
    ASSERT_TRUE(
        ledger_
            ->CloseEarlierTerms(writers_[name].id, {{writers_[name].stream, writers_[name].term}})
            .committed());
  }

  std::string ClusterId(MockCluster& cluster) {
    auto admin = KafkaAdmin::Open({.brokers = cluster.brokers(), .properties = {}});
    return (*admin)->ClusterId(milliseconds(10'000)).value();
  }

  void KafkaRecordSinkOpen() {
    if (producer_ != nullptr) return;
    KafkaProducerOptions options;
    options.kafka.brokers = p_->brokers();
    options.linger_ms = 1;
    producer_ = KafkaProducer::Open(options).value();
  }

  // `groups` commit groups of `size` records by a and b in turn: rows, records, runs.
  void Write(int groups, int size) {
    for (int group = 0; group < groups; ++group) {
      const std::string name = group % 2 == 0 ? "a" : "b";
      Writer& writer = writers_[name];
      const Seq first = writer.last + 1;
      ASSERT_TRUE(pair_
                      ->Sql(PostgresPair::kPrimary, database_,
                            absl::StrCat("insert into public.instructions_", name,
                                         "(what) select '", name, "-' || i from generate_series(",
                                         first.value(), ",", first.value() + size - 1, ") i"))
                      .ok());
      lockstep::Run run;
      run.producer = writer.id;
      run.term = writer.term;
      run.first_seq = first;
      run.last_seq = first + (size - 1);
      run.at_first = ToString(run.first_seq);
      run.at_last = ToString(run.last_seq);
      RunDigest digest;
      for (Seq seq = first; seq <= run.last_seq; ++seq) {
        const Payload payload{std::nullopt, absl::StrCat(name, "-", seq.value()), {}, 0};
        run.offsets.Append(Send(name, writer.term, seq, payload));
        digest.Add(name, run.term, seq, payload);
      }
      AwaitDelivery();
      run.digest = digest.Value();
      const auto appended = ledger_->Append({writer.id, {{writer.stream, writer.term, run}}, {}});
      ASSERT_TRUE(appended.committed()) << appended.why;
      writer.last = run.last_seq;
    }
  }

  // One commit group of a Pika's events.
  void WriteEvents(const std::string& name, std::span<const SourceEvent> events) {
    Writer& writer = writers_[name];
    lockstep::Run run;
    run.producer = writer.id;
    run.term = writer.term;
    run.first_seq = writer.last + 1;
    run.last_seq = writer.last + static_cast<int64_t>(events.size());
    run.at_first = events.front().at;
    run.at_last = events.back().at;
    RunDigest digest;
    const auto notes = pika::MakeRunNotesEncoder();
    for (const SourceEvent& event : events) {
      const Seq seq = ++writer.last;
      run.offsets.Append(Send(name, writer.term, seq, event.payload));
      digest.Add(name, run.term, seq, event.payload);
      notes->Add(event.payload);
    }
    AwaitDelivery();
    run.digest = digest.Value();
    run.payload = notes->Take();
    const auto appended = ledger_->Append({writer.id, {{writer.stream, writer.term, run}}, {}});
    ASSERT_TRUE(appended.committed()) << appended.why;
  }

  // This producer is alone in P, so offsets follow from the count.
  Offset Send(const std::string& name, Term term, Seq seq, const Payload& payload) {
    std::string header;
    const std::string at = ToString(seq);
    AppendRecordHeader({term, seq, at, name}, header);
    const KafkaHeaderView headers[] = {{kRecordHeaderKey, header}};
    const KafkaRecordView record{0, payload.key, payload.value, headers, 0};
    const ProducerTopic topic = producer_->Topic("orders").value();
    EXPECT_TRUE(producer_->Produce(topic, record, 0).ok());
    return Offset(sent_++);
  }

  void AwaitDelivery() {
    std::vector<DeliveryReport> reports;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (producer_->outstanding() > 0 && std::chrono::steady_clock::now() < deadline) {
      producer_->Poll(milliseconds(100), reports);
    }
    for (const DeliveryReport& report : reports) ASSERT_EQ(report.persisted, Persisted::kYes);
  }

  // MirrorMaker: copies [from, end) of P's partition to `topic` at S.
  void MirrorTo(const std::string& topic, Offset from, Offset end) {
    auto reader = KafkaLogReader::Open({.brokers = p_->brokers(), .properties = {}}, {"orders", 0},
                                       milliseconds(20'000))
                      .value();
    KafkaProducerOptions options;
    options.kafka.brokers = s_->brokers();
    auto copier = KafkaProducer::Open(options).value();
    const ProducerTopic target = copier->Topic(topic).value();
    std::vector<DeliveryReport> reports;
    const absl::Status read = reader->Read(from, end, [&](const LogRecord& record) {
      std::string header;
      AppendRecordHeader(record.header, header);
      const KafkaHeaderView headers[] = {{kRecordHeaderKey, header}};
      while (copier
                 ->Produce(target,
                           {0, record.content->key(), record.content->value(), headers,
                            record.content->timestamp_ms()},
                           0)
                 .value() == KafkaProducer::Produced::kQueueFull) {
        copier->Poll(milliseconds(10), reports);
      }
    });
    ASSERT_TRUE(read.ok()) << read;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (copier->outstanding() > 0 && std::chrono::steady_clock::now() < deadline) {
      copier->Poll(milliseconds(100), reports);
    }
  }

  CommonOptions Common() {
    CommonOptions common;
    common.brokers = s_->brokers();
    common.ledger = pair_->ConninfoOf(PostgresPair::kStandby, database_);
    common.topic = "orders";
    return common;
  }

  // Rows that were committed are at the standby: commits are synchronous, replay may lag a little.
  void AwaitReplay() {
    // The last commit of all: what a test did to the tables counts too.
    ASSERT_TRUE(pair_
                    ->Sql(PostgresPair::kPrimary, database_,
                          "create table if not exists public.replayed(n int); insert into "
                          "public.replayed values (1)")
                    .ok());
    const std::string count =
        "select case when to_regclass('public.replayed') is null then -1 else "
        "(xpath('/row/n/text()', "
        "query_to_xml('select count(*) as n from public.replayed', false, true, "
        "'')))[1]::text::int "
        "end";
    const auto wanted = pair_->Sql(PostgresPair::kPrimary, database_, count);
    ASSERT_TRUE(pair_->AwaitSql(PostgresPair::kStandby, database_, count, *wanted).ok());
  }

  Verdicts Verify(Session& session) {
    OpenStream& stream = session.streams().front();
    auto view = LedgerView::Open(session.ledger(), stream.info).value();
    return VerifyLogs(view, stream.logs.logs(), session.cluster_id(), kAllRules).value();
  }

  PostgresPair* pair_ = nullptr;
  std::string database_;
  std::unique_ptr<MockCluster> p_;
  std::unique_ptr<MockCluster> s_;
  std::unique_ptr<PostgresLedger> ledger_;
  std::unique_ptr<KafkaProducer> producer_;
  std::map<std::string, Writer> writers_;
  int64_t sent_ = 0;
};

TEST_F(SiteTest, GapCostsTheSameBehindASmallAndALargeMirror) {
  int64_t read[2];
  const int groups[2] = {10, 60};
  for (int i = 0; i < 2; ++i) {
    const int64_t before = sent_;
    Write(groups[i], 500);
    MirrorTo("orders", Offset(before), Offset(sent_ - 300));
    AwaitReplay();
    const CommonOptions common = Common();
    const ReconcileOptions options;
    auto session = Session::Open(common, options);
    ASSERT_TRUE(session.ok()) << session.status();
    OpenStream& stream = (*session)->streams().front();
    const auto gap = (*session)->FindGapOf(stream, false);
    ASSERT_TRUE(gap.ok()) << gap.status();
    EXPECT_EQ(gap->records, 300);
    read[i] = gap->evidence.records_read;
    MirrorTo("orders", Offset(sent_ - 300), Offset(sent_));
  }
  EXPECT_LE(read[0], 10'000);
  EXPECT_LE(read[1], 10'000) << "35,000 mirrored records, one chunk read";
}

TEST_F(SiteTest, ReinjectionKilledInTheMiddleIsFinishedByTheNext) {
  Write(20, 50);
  MirrorTo("orders", Offset(0), Offset(333));
  AwaitReplay();
  const CommonOptions common = Common();
  for (const std::string order : {"none", "ledger"}) {
    ReconcileOptions options;
    options.order = order;
    auto session = Session::Open(common, options);
    ASSERT_TRUE(session.ok()) << session.status();
    OpenStream& stream = (*session)->streams().front();
    const Gap gap = (*session)->FindGapOf(stream, false).value();
    EXPECT_GT(gap.records, 0);
    PayloadRouter router = (*session)->MakeRouter();
    {
      // Killed with requests in flight: the sink goes without a flush.
      auto sink =
          KafkaRecordSink::Open(common.Kafka(), {"orders", 0}, milliseconds(20'000)).value();
      int64_t written = 0;
      ReinjectOptions how;
      how.order = ParseReinjectOrder(order).value();
      const auto result = Reinject(
          gap,
          [&](const std::string& producer,
              const lockstep::Run& run) -> absl::StatusOr<std::vector<SourceEvent>> {
            if ((written += run.last_seq - run.first_seq + 1) > 250) {
              EXPECT_TRUE(sink->Flush().ok());
              return absl::UnavailableError("killed");
            }
            return router.Fetch(gap.stream, producer, run);
          },
          *sink, how);
      EXPECT_FALSE(result.ok());
    }
  }
  auto session = Session::Open(common, ReconcileOptions{}).value();
  std::vector<Gap> gaps;
  gaps.push_back(session->FindGapOf(session->streams().front(), false).value());
  EXPECT_GT(gaps[0].records, 0);
  ASSERT_TRUE(ReinjectAll(*session, gaps, Epoch(2)).ok());
  const Verdicts verdicts = Verify(*session);
  EXPECT_TRUE(verdicts.good());
  EXPECT_EQ(verdicts.found, 1000);
  EXPECT_EQ(verdicts.anomalies.at(Anomaly::kDuplicate).records, 0);
  EXPECT_EQ(verdicts.digests_checked, 20);
}

TEST_F(SiteTest, ChangedSourceRowIsRefusedByTheDigestAndNamed) {
  Write(4, 10);
  // Behind the producer's back.
  ASSERT_TRUE(pair_
                  ->Sql(PostgresPair::kPrimary, database_,
                        "update public.instructions_a set what = 'forged' where id = 13")
                  .ok());
  AwaitReplay();
  const CommonOptions common = Common();
  const ReconcileOptions options;
  auto session = Session::Open(common, options).value();
  const auto readiness = JudgeReadiness(*session, 100'000);
  ASSERT_TRUE(readiness.ok()) << readiness.status();
  EXPECT_FALSE(readiness->go());
  EXPECT_EQ(readiness->unfilled, 10);
  EXPECT_THAT(readiness->reasons[0].message, HasSubstr("seqs 11 to 20 of producer 'a'"));
  std::vector<Gap> gaps;
  gaps.push_back(session->FindGapOf(session->streams().front(), false).value());
  EXPECT_EQ(ReinjectAll(*session, gaps, Epoch(2)).status().code(), absl::StatusCode::kNotFound);
  // The runs before it are in, of the forged one nothing.
  const Verdicts verdicts = Verify(*session);
  EXPECT_EQ(verdicts.found, 20);
  EXPECT_EQ(verdicts.anomalies.at(Anomaly::kCorrupt).records, 0);
}

TEST_F(SiteTest, AnotherSurvivingLogGivesThePayloads) {
  Write(4, 10);
  AwaitReplay();
  ASSERT_TRUE(pair_->Sql(PostgresPair::kPrimary, database_, "truncate public.instructions_a").ok());
  const CommonOptions common = Common();
  ReconcileOptions options;
  options.payloads = {"a=log:orders@" + p_->brokers()};
  auto session = Session::Open(common, options).value();
  std::vector<Gap> gaps;
  gaps.push_back(session->FindGapOf(session->streams().front(), false).value());
  const auto outcome = ReinjectAll(*session, gaps, Epoch(2));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->reinjected, 40);
  EXPECT_TRUE(Verify(*session).good());
}

// Also while its process has the WAL open. What the WAL says otherwise than the ledger is refused.
TEST_F(SiteTest, AProducersWalGivesThePayloads) {
  Write(4, 10);
  AwaitReplay();
  ASSERT_TRUE(pair_->Sql(PostgresPair::kPrimary, database_, "truncate public.instructions_a").ok());
  std::string pattern = testing::TempDir() + "site-wal-XXXXXX";
  const std::filesystem::path parent = mkdtemp(pattern.data());
  const absl::Cleanup removed = [&] { std::filesystem::remove_all(parent); };
  const auto events = [](int last, const std::string& changed) {
    std::vector<SourceEvent> made;
    for (int i = 1; i <= last; ++i) {
      SourceEvent& event = made.emplace_back();
      event.at = std::to_string(i);
      event.payload.value = absl::StrCat("a-", i, i == last ? changed : "");
    }
    return made;
  };
  const auto good = Wal::Open(parent / "good", {"a", "pika://p:9221"});
  ASSERT_TRUE(good.ok()) << good.status();
  ASSERT_TRUE((*good)->Append(events(20, "")).ok());
  const auto bad = Wal::Open(parent / "bad", {"a", "pika://p:9221"});
  ASSERT_TRUE(bad.ok()) << bad.status();
  ASSERT_TRUE((*bad)->Append(events(20, "!")).ok());

  const CommonOptions common = Common();
  const auto reinject = [&](const char* wal) {
    ReconcileOptions options;
    options.payloads = {absl::StrCat("a=wal:", (parent / wal).string())};
    auto session = Session::Open(common, options).value();
    std::vector<Gap> gaps;
    gaps.push_back(session->FindGapOf(session->streams().front(), false).value());
    return ReinjectAll(*session, gaps, Epoch(2)).status();
  };
  const absl::Status refused = reinject("bad");
  EXPECT_TRUE(absl::IsNotFound(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("its bytes are not what was written"));
  const absl::Status status = reinject("good");
  EXPECT_TRUE(status.ok()) << status;
  ReconcileOptions options;
  auto session = Session::Open(common, options).value();
  const Verdicts verdicts = Verify(*session);
  EXPECT_TRUE(verdicts.good());
  EXPECT_EQ(verdicts.found, 40);
}

// The events of a Pika's binlog, as a producer reads them.
std::vector<SourceEvent> ReadPika(const std::string& text) {
  SourceOptions until_end;
  until_end.until_end = true;
  const SourceSpec spec = ParseSourceSpec(text).value();
  const auto source = OpenPikaSource(std::get<PikaSpec>(spec.kind), until_end).value();
  const auto deadline = std::chrono::steady_clock::now() + milliseconds(20'000);
  std::vector<SourceEvent> events;
  absl::Status status = absl::UnavailableError("not started");
  while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < deadline) {
    status = source->Start({});
  }
  while (status.ok() && !source->ended() && std::chrono::steady_clock::now() < deadline) {
    status = source->Poll(1'000, milliseconds(20), events);
  }
  EXPECT_TRUE(status.ok()) << status;
  return events;
}

// The site is lost with its Pika, and what the mirror lacks comes from the standby's. One that was
// written to on its own, that purged it or that lacks the end is refused, each with its reason.
TEST_F(SiteTest, TheStandbysPikaGivesThePayloads) {
  constexpr int kEvents = 40;
  auto master = std::make_unique<pika::PikaMaster>();
  const std::string source = absl::StrCat("pika://127.0.0.1:", master->port(), "?exclude-keys=f*");
  const auto append = [](pika::PikaMaster& pika, int first, int last, const char* value) {
    for (int i = first; i <= last; ++i) {
      pika.Append("db0", {"SET", absl::StrCat("k-", i), value});
      pika.Append("db0", {"SET", "filtered", value});
    }
  };
  const pika::PikaMasterOptions replica{
      .password = "secret", .exec_time_s = 1'800'000'000, .term = 7, .first_logic_id = 1'000};
  pika::PikaMaster good(replica);
  pika::PikaMaster forked(replica);
  pika::PikaMaster behind(replica);
  pika::PikaMaster purged(replica);
  for (pika::PikaMaster* pika : {master.get(), &good, &purged}) append(*pika, 1, kEvents, "v");
  append(forked, 1, 30, "v");
  append(forked, 31, kEvents, "w");
  append(behind, 1, 35, "v");
  purged.Purge("db0", 1);

  const std::vector<SourceEvent> events = ReadPika(source);
  master.reset();
  ASSERT_EQ(events.size(), static_cast<size_t>(kEvents));
  OpenProducer("c", source);
  for (size_t i = 0; i < events.size(); i += 10) {
    WriteEvents("c", std::span(events).subspan(i, 10));
  }
  MirrorTo("orders", Offset(0), Offset(15));
  AwaitReplay();

  std::string pattern = testing::TempDir() + "site-pika-XXXXXX";
  const std::filesystem::path directory = mkdtemp(pattern.data());
  const absl::Cleanup removed = [&] { std::filesystem::remove_all(directory); };
  std::ofstream(directory / "password") << "secret\n";
  const CommonOptions common = Common();
  const auto open = [&](const pika::PikaMaster& pika, bool accept_source_loss = false) {
    ReconcileOptions options;
    options.payloads = {absl::StrCat("c=pika://127.0.0.1:", pika.port())};
    options.source_password_file = directory / "password";
    options.patience = milliseconds(2'000);
    options.accept_source_loss = accept_source_loss;
    return Session::Open(common, options).value();
  };
  const auto reasons = [&](const pika::PikaMaster& pika, bool accept_source_loss = false) {
    const auto session = open(pika, accept_source_loss);
    std::vector<NoGo> found;
    const Readiness readiness = JudgeReadiness(*session, 10'000).value();
    for (const NoGoReason& reason : readiness.reasons) {
      found.push_back(reason.reason);
    }
    return found;
  };
  const auto reinject = [&](const pika::PikaMaster& pika) {
    const auto session = open(pika);
    std::vector<Gap> gaps;
    gaps.push_back(session->FindGapOf(session->streams().front(), false).value());
    return ReinjectAll(*session, gaps, Epoch(2)).status();
  };
  const auto refused = [&](const pika::PikaMaster& pika, const std::string& says) {
    const absl::Status status = reinject(pika);
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  };
  // A run that is had in part is not had; and the ledger's end is not reached.
  EXPECT_THAT(reasons(behind), testing::ElementsAre(NoGo::kUnfilled, NoGo::kSourceBehind));
  EXPECT_THAT(reasons(behind, true), testing::ElementsAre(NoGo::kUnfilled));
  EXPECT_THAT(reasons(forked), testing::ElementsAre(NoGo::kUnfilled, NoGo::kSourceBehind));
  EXPECT_THAT(reasons(good), testing::IsEmpty());

  refused(purged, "has purged its binlog of db0 at " + events[10].at);
  refused(behind,
          absl::StrCat("the record behind ", ToString(behind.End("db0")), " (source position)"));
  refused(forked, "this is another history: the last ledgered entry ends at " + events[30].at);
  const absl::Status status = reinject(good);
  EXPECT_TRUE(status.ok()) << status;
  const auto session = open(good);
  const Verdicts verdicts = Verify(*session);
  EXPECT_TRUE(verdicts.good());
  EXPECT_EQ(verdicts.found, kEvents);
  EXPECT_THAT(good.Complaints(), testing::IsEmpty());
}

TEST_F(SiteTest, TopicWithFewerPartitionsThanTheLedgerIsRefused) {
  Write(2, 5);
  const auto chosen = ChooseTopics({{"orders", 1, 1}}, "orders", "", 2);
  EXPECT_EQ(chosen.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SiteTest, BrokerThatIsAwayIsNamedAndOneThatComesBackIsWaitedFor) {
  Write(2, 100);
  MirrorTo("orders", Offset(0), Offset(200));
  auto reader = KafkaLogReader::Open({.brokers = s_->brokers(), .properties = {}}, {"orders", 0},
                                     milliseconds(20'000))
                    .value();
  ASSERT_TRUE(reader->Extent().ok());
  s_->SetBrokerDown(1);
  int64_t records = 0;
  auto read = std::async(std::launch::async, [&] {
    return reader->Read(Offset(0), Offset(200), [&records](const LogRecord&) { ++records; });
  });
  auto impatient = KafkaLogReader::Open({.brokers = s_->brokers(), .properties = {}}, {"orders", 0},
                                        milliseconds(500))
                       .value();
  EXPECT_EQ(impatient->Read(Offset(0), Offset(200), [](const LogRecord&) {}).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(read.wait_for(milliseconds(0)), std::future_status::timeout) << "gave up as early";

  s_->SetBrokerUp(1);
  EXPECT_EQ(read.get(), absl::OkStatus());
  EXPECT_EQ(records, 200);
}

// ------------------------------------------------------------------ the program itself

struct ProgramEnd {
  int code = -1;  // -1: killed.
  std::string out;
};

// Runs the program to its end, or until the power fails `kill_after` its start.
ProgramEnd RunProgram(const std::vector<std::string>& arguments,
                      std::optional<milliseconds> kill_after = {}) {
  int out[2];
  EXPECT_EQ(pipe(out), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(out[1], STDOUT_FILENO);
    close(out[0]);
    close(out[1]);
    std::vector<char*> argv = {const_cast<char*>(LOCKSTEP_MIRROR_RECONCILE)};
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  const auto began = std::chrono::steady_clock::now();
  const auto milliseconds_left = [&] {
    if (!kill_after) return -1;
    const auto passed = std::chrono::steady_clock::now() - began;
    const auto left = std::chrono::ceil<milliseconds>(*kill_after - passed);
    return std::max(0, static_cast<int>(left.count()));
  };
  ProgramEnd end;
  char buffer[4096];
  for (;;) {
    pollfd readable{out[0], POLLIN, 0};
    if (poll(&readable, 1, milliseconds_left()) == 0) {
      kill(pid, SIGKILL);
      kill_after.reset();
      continue;
    }
    const ssize_t n = read(out[0], buffer, sizeof buffer);
    if (n <= 0) break;
    end.out.append(buffer, static_cast<size_t>(n));
  }
  close(out[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return end;
}

std::string LastLine(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1, end - begin);
}

class FailoverTest : public SiteTest {
 protected:
  PostgresPair* Pair() override {
    own_pair_ = PostgresPair::Start().value();
    return own_pair_.get();
  }
  std::vector<std::string> Arguments(const std::string& command) {
    return {command,
            "--topic",
            "orders",
            "--brokers",
            s_->brokers(),
            "--ledger",
            pair_->ConninfoOf(PostgresPair::kStandby, database_),
            "--format",
            "json"};
  }
  std::vector<std::string> Execute() {
    std::vector<std::string> arguments = Arguments("failover");
    arguments.insert(arguments.end(), {"--execute", "--yes"});
    return arguments;
  }
  void ExpectTakenOver(Epoch epoch) {
    auto session = Session::Open(Common(), ReconcileOptions{});
    ASSERT_TRUE(session.ok()) << session.status();
    EXPECT_EQ((*session)->ledger().ReadNow()->epoch, epoch);
    const Verdicts verdicts = Verify(**session);
    EXPECT_TRUE(verdicts.good());
    EXPECT_EQ(verdicts.found, verdicts.ledgered);
  }

 private:
  std::unique_ptr<PostgresPair> own_pair_;
};

TEST_F(FailoverTest, SiteIsTakenOverAndARerunChangesNothing) {
  Write(20, 50);
  MirrorTo("orders", Offset(0), Offset(700));
  const StreamId stream = writers_["a"].stream;
  const auto gate = ledger_->OpenGate("payments", {{"orders", 0}}, true);
  ASSERT_TRUE(gate.committed()) << gate.why;
  ASSERT_TRUE(ledger_
                  ->MoveCursor({"payments", stream, gate.value.cursors[0].term,
                                Position{Epoch(1), Offset(990)}, Position{Epoch(1), Offset(987)}})
                  .committed());
  auto& seqs = dynamic_cast<SeqCursors&>(*ledger_);
  const auto by_seq = seqs.OpenSeqGate("audit", {"orders", 0}, true);
  ASSERT_TRUE(by_seq.committed()) << by_seq.why;
  ASSERT_TRUE(
      seqs.MoveSeqCursor(
              {"audit", stream, by_seq.value.cursor.term, {{writers_["a"].id, Seq(500), Seq(498)}}})
          .committed());
  AwaitReplay();

  // As a base backup of a primary with ALTER SYSTEM settings has it: it would hang every commit.
  ASSERT_TRUE(pair_->Configure(PostgresPair::kStandby, "synchronous_standby_names", "'dr'").ok());

  // The plan changes nothing, whoever lives.
  const ProgramEnd plan = RunProgram(Arguments("failover"));
  EXPECT_EQ(plan.code, 0) << plan.out;
  EXPECT_THAT(plan.out, HasSubstr("synchronous_standby_names"));
  EXPECT_THAT(LastLine(plan.out), HasSubstr("\"go\":true,\"gap_records\":300"));
  EXPECT_EQ(ledger_->ReadNow()->epoch, Epoch(1));

  producer_.reset();
  pair_->Kill(PostgresPair::kPrimary);
  p_.reset();
  const ProgramEnd taken = RunProgram(Execute());
  EXPECT_EQ(taken.code, 0) << taken.out;
  const std::string summary = LastLine(taken.out);
  EXPECT_THAT(summary, HasSubstr("{\"epoch\":2,\"go\":true,\"gap_records\":300,"
                                 "\"reinjected\":300,\"unfilled\":0"));
  EXPECT_THAT(summary, HasSubstr("\"offset\":988"));
  EXPECT_THAT(summary, HasSubstr("\"offset\":990"));
  EXPECT_THAT(summary, testing::Not(HasSubstr("\"offset\":991")));
  EXPECT_THAT(summary, HasSubstr("\"at\":\"489\""));
  for (const char* seq : {"499", "500"}) {
    EXPECT_THAT(summary, testing::ContainsRegex(absl::StrCat(
                             "\"group\":\"audit\"[^}]*\"producer\":\"a\"[^}]*\"seq\":", seq)));
  }
  EXPECT_THAT(summary, testing::Not(testing::ContainsRegex("\"audit\"[^}]*\"seq\":498")));
  ExpectTakenOver(Epoch(2));

  const ProgramEnd again = RunProgram(Execute());
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(LastLine(again.out), HasSubstr("{\"epoch\":2,\"go\":true"));
  ExpectTakenOver(Epoch(2));
  EXPECT_EQ(RunProgram(Arguments("gap")).code, 0);
  EXPECT_EQ(RunProgram(Arguments("verify")).code, 0);
}

TEST_F(FailoverTest, KilledAtAnyTimeAndStartedOverItEndsInTheSamePlace) {
  Write(20, 50);
  MirrorTo("orders", Offset(0), Offset(200));
  AwaitReplay();
  producer_.reset();
  pair_->Kill(PostgresPair::kPrimary);
  ProgramEnd end;
  for (int kill_ms = 50; end.code != 0 && kill_ms < 20'000; kill_ms += kill_ms / 3) {
    end = RunProgram(Execute(), milliseconds(kill_ms));
  }
  EXPECT_EQ(end.code, 0) << end.out;
  ExpectTakenOver(Epoch(2));
}

TEST_F(FailoverTest, SourceBehindTheLedgerStopsIt) {
  Write(4, 10);
  MirrorTo("orders", Offset(0), Offset(40));
  ASSERT_TRUE(pair_
                  ->Sql(PostgresPair::kPrimary, database_,
                        "delete from public.instructions_b where id > 15")
                  .ok());
  AwaitReplay();
  producer_.reset();
  pair_->Kill(PostgresPair::kPrimary);
  EXPECT_EQ(RunProgram(Execute()).code, 3);
  std::vector<std::string> accepted = Execute();
  accepted.emplace_back("--accept-source-loss");
  EXPECT_EQ(RunProgram(accepted).code, 0);
}

TEST_F(SiteTest, ThePrimaryIsNotTakenOver) {
  Write(2, 5);
  std::vector<std::string> arguments = {"failover",
                                        "--topic",
                                        "orders",
                                        "--brokers",
                                        p_->brokers(),
                                        "--ledger",
                                        pair_->ConninfoOf(PostgresPair::kPrimary, database_),
                                        "--execute",
                                        "--yes"};
  EXPECT_EQ(RunProgram(arguments).code, 3);
  EXPECT_EQ(ledger_->ReadNow()->epoch, Epoch(1));
  // Nor can it be meant by accident.
  arguments[6] = pair_->Conninfo(database_);
  EXPECT_EQ(RunProgram(arguments).code, 2);
}

TEST_F(SiteTest, CommandsOfAnotherVersionSaySo) {
  for (const char* later : {"watch", "switchover", "failback"}) {
    EXPECT_EQ(RunProgram({later}).code, 2);
  }
}

}  // namespace
}  // namespace lockstep
