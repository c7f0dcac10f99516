import Pack
import Storage
import Synchronization

/// Unpacked contents of experts' compressed chunks under a byte budget; the one not used for longest goes first.
///
/// Raw chunks are used in place and never come here. A content that is in use stays alive after it was dropped, so the
/// budget bounds what is kept, not what a product holds for its duration.
final class ContentCache: Sendable {
  private struct Entry {
    let content: SharedBytes
    var lastUse: Int
  }
  private struct State {
    var entries: [Int: Entry] = [:]
    var byteCount = 0
    var clock = 0
  }
  private let state = Mutex(State())
  private let budget: Int

  init(budget: Int) { self.budget = budget }

  func content(ofChunk index: Int) -> SharedBytes? {
    state.withLock { state in
      state.clock += 1
      state.entries[index]?.lastUse = state.clock
      return state.entries[index]?.content
    }
  }

  func insert(_ content: SharedBytes, forChunk index: Int) {
    guard content.byteCount <= budget else { return }
    state.withLock { state in
      guard state.entries[index] == nil else { return }
      while state.byteCount + content.byteCount > budget {
        guard let oldest = state.entries.min(by: { $0.value.lastUse < $1.value.lastUse }) else { break }
        state.byteCount -= oldest.value.content.byteCount
        state.entries[oldest.key] = nil
      }
      state.clock += 1
      state.entries[index] = Entry(content: content, lastUse: state.clock)
      state.byteCount += content.byteCount
    }
  }
}
