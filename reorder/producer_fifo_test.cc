#include "reorder/producer_fifo.h"

#include <string>

#include <gtest/gtest.h>

#include "reorder/parking/fifo_parking.h"

namespace lockstep {
namespace {

class TwoHeaders final : public HeaderSource {
 public:
  void Read(const void*, std::vector<HeaderView>& out) const override {
    out.clear();
    out.emplace_back("h", "v");
    out.emplace_back("h", std::nullopt);
  }
};

RecordView Record(std::string_view value) {
  RecordView record;
  record.log_offset = Offset(17);
  record.timestamp_ms = 1700;
  record.at = "98";
  record.key = std::nullopt;
  record.value = value;
  return record;
}

TEST(ProducerFifoTest, GivesBackWhatWasParkedInOrder) {
  ChunkPool pool;
  ProducerFifo fifo(pool);
  const TwoHeaders headers;
  RecordView record = Record("one");
  record.header_source = &headers;
  fifo.Park(Seq(4), record);
  RecordView tombstone = Record("");
  tombstone.value = std::nullopt;
  tombstone.key = "k";
  fifo.Park(Seq(9), tombstone);

  EXPECT_EQ(fifo.front_seq(), Seq(4));
  const RecordView first = fifo.Unpark();
  EXPECT_EQ(first.value, "one");
  EXPECT_EQ(first.key, std::nullopt);
  EXPECT_EQ(first.at, "98");
  EXPECT_EQ(first.log_offset, Offset(17));
  EXPECT_EQ(first.timestamp_ms, 1700);
  std::vector<HeaderView> read;
  first.ReadHeaders(read);
  EXPECT_EQ(read, (std::vector<HeaderView>{{"h", "v"}, {"h", std::nullopt}}));
  EXPECT_EQ(fifo.front_seq(), Seq(9));
  const RecordView second = fifo.Unpark();
  EXPECT_EQ(second.value, std::nullopt);
  EXPECT_EQ(second.key, "k");
  EXPECT_TRUE(fifo.empty());
}

TEST(ProducerFifoTest, ViewsLiveUntilReleased) {
  ChunkPool pool;
  ProducerFifo fifo(pool);
  for (int i = 1; i <= 3000; ++i) fifo.Park(Seq(i), Record("value-" + std::to_string(i)));
  std::vector<RecordView> out;
  while (!fifo.empty()) out.push_back(fifo.Unpark());
  for (int i = 1; i <= 3000; ++i) {
    ASSERT_EQ(out[static_cast<size_t>(i - 1)].value, "value-" + std::to_string(i));
  }
  fifo.ReleaseUnparked();
  EXPECT_LE(pool.allocated_bytes(), ChunkPool::kChunkBytesMin);
}

TEST(ProducerFifoTest, MemoryIsBoundedByPayload) {
  for (const size_t value_bytes : {0UL, 20UL, 100UL, 1000UL, 40'000UL, 100'000UL}) {
    FifoParking parking;
    const std::string value(value_bytes, 'x');
    const int records = value_bytes > 10'000 ? 200 : 20'000;
    size_t payload = 0;
    for (int i = 1; i <= records; ++i) {
      ASSERT_TRUE(parking.Park(0, Seq(i), Record(value)).ok());
      payload += value.size() + 2;
    }
    const double a_record =
        static_cast<double>(parking.allocated_bytes()) / static_cast<double>(records);
    EXPECT_LE(a_record, 1.5 * static_cast<double>(payload) / records + 100) << value_bytes;
    EXPECT_EQ(parking.stats().records, records);
  }
}

TEST(ProducerFifoTest, ParkingAndTakingInTurnKeepsOneChunk) {
  FifoParking parking;
  for (int i = 1; i <= 100'000; ++i) {
    ASSERT_TRUE(parking.Park(3, Seq(i), Record("0123456789")).ok());
    ASSERT_TRUE(parking.Unpark(3).ok());
    parking.ReleaseUnparked();
  }
  EXPECT_LE(parking.allocated_bytes(), ChunkPool::kChunkBytesMax);
  EXPECT_EQ(parking.stats().bytes, 0);
  EXPECT_EQ(parking.stats().records_peak, 1);
  EXPECT_EQ(parking.Front(3), std::nullopt);
  EXPECT_EQ(parking.Front(7), std::nullopt);
}

TEST(ProducerFifoDeathTest, SeqsAscend) {
  ChunkPool pool;
  ProducerFifo fifo(pool);
  fifo.Park(Seq(5), Record("x"));
  EXPECT_DEATH(fifo.Park(Seq(5), Record("x")), "parked seqs ascend");
}

}  // namespace
}  // namespace lockstep
