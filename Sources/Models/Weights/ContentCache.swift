import Pack
import Storage
import Synchronization

/// Contents of experts that are not used as they are stored, under a byte budget: unpacked chunks, decoded FP8, codes in another
/// order, rounded weights. The one not used for longest goes first.
///
/// What is used in place never comes here. A content that is in use stays alive after it was dropped, so the
/// budget bounds what is kept, not what a product holds for its duration.
final class ContentCache: Sendable {
  /// What a content was made from.
  enum Key: Hashable {
    case chunk(Int)
    /// A matrix of FP8 or packed codes, by the file of a checkpoint and where it begins there.
    case matrix(file: Int, offset: Int)
    /// One of ``RoundedWeights``.
    case rounded(layer: Int, expert: Int, TensorPart)
  }
  private struct Entry {
    let content: SharedBytes
    var lastUse: Int
  }
  private struct State {
    var entries: [Key: Entry] = [:]
    var byteCount = 0
    var clock = 0
  }
  private let state = Mutex(State())
  private let budget: Int

  init(budget: Int) { self.budget = budget }

  func content(of key: Key) -> SharedBytes? {
    state.withLock { state in
      state.clock += 1
      state.entries[key]?.lastUse = state.clock
      return state.entries[key]?.content
    }
  }

  func insert(_ content: SharedBytes, for key: Key) {
    guard content.byteCount <= budget else { return }
    state.withLock { state in
      guard state.entries[key] == nil else { return }
      while state.byteCount + content.byteCount > budget {
        guard let oldest = state.entries.min(by: { $0.value.lastUse < $1.value.lastUse }) else { break }
        state.byteCount -= oldest.value.content.byteCount
        state.entries[oldest.key] = nil
      }
      state.clock += 1
      state.entries[key] = Entry(content: content, lastUse: state.clock)
      state.byteCount += content.byteCount
    }
  }
}
