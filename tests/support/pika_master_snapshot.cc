// A master's snapshot port: lists and pieces of files.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "producer/pika/pb_frame.h"
#include "producer/pika/snapshot.pb.h"
#include "tests/support/pika_master.h"

#include <asio/buffer.hpp>
#include <asio/write.hpp>

namespace lockstep::pika {
namespace {

namespace fs = std::filesystem;
using asio::ip::tcp;

}  // namespace

// Blocking reads are good enough here.
class PikaMaster::SnapshotConnection : public std::enable_shared_from_this<SnapshotConnection> {
 public:
  SnapshotConnection(PikaMaster& master, tcp::socket socket)
      : master_(master), socket_(std::move(socket)) {}

  void Read() {
    socket_.async_read_some(asio::buffer(buffer_), [this, self = shared_from_this()](
                                                       asio::error_code error, size_t bytes) {
      if (error) return;
      reader_.Append({buffer_.data(), bytes});
      for (auto frame = reader_.Next(); frame.ok() && *frame; frame = reader_.Next()) {
        SnapshotRequest request;
        if (!request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) return;
        std::string answer;
        AppendPbFrame(Answer(request).SerializeAsString(), answer);
        asio::write(socket_, asio::buffer(answer), error);
        if (error) return;
      }
      Read();
    });
  }

 private:
  static std::string ReadPiece(const fs::path& path, uint64_t offset, uint64_t count) {
    std::ifstream in(path, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(offset));
    std::string piece(count, '\0');
    in.read(piece.data(), static_cast<std::streamsize>(count));
    piece.resize(static_cast<size_t>(in.gcount()));
    return piece;
  }

  SnapshotResponse Answer(const SnapshotRequest& request) {
    MutexLock lock(master_.mu_);
    SnapshotResponse response;
    response.set_type(request.type());
    response.set_reader_index(request.reader_index());
    response.set_db_name(request.db_name());
    response.set_slot_id(0);
    response.set_snapshot_uuid("");
    response.set_status(SNAPSHOT_ERROR);
    const auto log = master_.logs_.find(request.db_name());
    if (log == master_.logs_.end() || log->second.dump_directory.empty()) return response;
    const fs::path directory = log->second.dump_directory;
    int& spoiled =
        request.type() == SNAPSHOT_META ? master_.spoiled_lists_ : master_.spoiled_files_;
    const bool spoil = spoiled > 0 && spoiled-- > 0;
    if (request.type() == SNAPSHOT_META && spoil) return response;
    response.set_status(SNAPSHOT_OK);
    response.set_snapshot_uuid(std::string(32, spoil ? 'b' : 'a'));
    if (request.type() == SNAPSHOT_META) {
      for (const auto& entry : fs::recursive_directory_iterator(directory)) {
        if (entry.is_directory()) continue;
        response.mutable_meta()->add_filenames(fs::relative(entry.path(), directory).string());
      }
      return response;
    }
    const fs::path path = directory / request.file().filename();
    SnapshotResponse::File& file = *response.mutable_file();
    // A real master's answers end at 16 MiB of the file; these may end far earlier.
    const std::string piece =
        ReadPiece(path, request.file().offset(),
                  std::min<uint64_t>(request.file().count(), master_.options_.piece_bytes_max));
    file.set_eof(request.file().offset() + piece.size() == fs::file_size(path) ? 1 : 0);
    file.set_count(piece.size());
    file.set_offset(request.file().offset());
    file.set_data(piece);
    file.set_checksum("");
    file.set_filename(request.file().filename());
    return response;
  }

  PikaMaster& master_;
  tcp::socket socket_;
  std::array<char, 16 * 1024> buffer_;
  PbFrameReader reader_;
};

void PikaMaster::ServeSnapshot(tcp::socket socket) {
  std::make_shared<SnapshotConnection>(*this, std::move(socket))->Read();
}

}  // namespace lockstep::pika
