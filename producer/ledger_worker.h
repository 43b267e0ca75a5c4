// LedgerWorker makes one ledger call at a time on a thread of its own, so that producing goes on
// while a commit waits for the standby.
#ifndef LOCKSTEP_PRODUCER_LEDGER_WORKER_H_
#define LOCKSTEP_PRODUCER_LEDGER_WORKER_H_

#include <optional>
#include <thread>

#include "common/base/mutex.h"
#include "db-ledger/ledger.h"

namespace lockstep {

// Used by one thread. While busy() nobody else may use the ledger.
class LedgerWorker {
 public:
  // `ledger` must outlive this object.
  explicit LedgerWorker(Ledger& ledger) : ledger_(ledger), thread_([this] { Work(); }) {}
  // Waits for a call under way.
  ~LedgerWorker() {
    {
      MutexLock lock(mu_);
      stop_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  LedgerWorker(const LedgerWorker&) = delete;
  LedgerWorker& operator=(const LedgerWorker&) = delete;

  // `request` must stay as it is until its answer is taken. REQUIRES: !busy()
  void Submit(const AppendRequest& request) {
    busy_ = true;
    MutexLock lock(mu_);
    request_ = &request;
    changed_.NotifyAll();
  }
  // From Submit until the answer is taken.
  bool busy() const { return busy_; }
  // nullopt: not yet.
  std::optional<Commit<Appended>> TakeAnswer() {
    MutexLock lock(mu_);
    if (!answer_) return std::nullopt;
    busy_ = false;
    return std::exchange(answer_, std::nullopt);
  }

 private:
  void Work() {
    for (;;) {
      const AppendRequest* request = nullptr;
      {
        MutexLock lock(mu_);
        while (request_ == nullptr && !stop_) changed_.Wait(mu_);
        if (stop_) return;
        request = std::exchange(request_, nullptr);
      }
      Commit<Appended> answer = ledger_.Append(*request);
      MutexLock lock(mu_);
      answer_ = std::move(answer);
    }
  }

  Ledger& ledger_;
  bool busy_ = false;  // The submitting thread only.

  Mutex mu_;
  CondVar changed_;
  const AppendRequest* request_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::optional<Commit<Appended>> answer_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;

  std::thread thread_;  // Last: it uses the rest.
};

}  // namespace lockstep

#endif  // LOCKSTEP_PRODUCER_LEDGER_WORKER_H_
