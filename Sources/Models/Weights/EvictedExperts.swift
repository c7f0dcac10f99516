import Dispatch
import Storage
import Synchronization
import Tensors

/// Experts that the page cache could not keep, read past it for one use each.
///
/// Reading them through the cache would push out what it holds and will be asked for in the next pass, so that in the end nothing
/// is ever found there; and to fill and empty it takes a second of processor time for each gigabyte.
package final class EvictedExperts: Sendable {
  package struct Key: Hashable, Sendable {
    package let layer: Int
    package let expert: Int

    package init(layer: Int, expert: Int) {
      self.layer = layer
      self.expert = expert
    }
  }
  /// Threads that wait for the disk.
  private static let threads = 2
  /// The most experts that are read ahead of their use at a time.
  private static let mostAhead = 48

  /// How many may be read ahead of their use where there is memory for these and for those that are multiplied; 0 where there is
  /// too little.
  static func count(expertByteCount: Int, memory: Int) -> Int {
    let count = min(mostAhead, memory / max(expertByteCount, 1) - MixtureOfExperts.heldExperts)
    return count < 2 * threads ? 0 : count
  }

  /// An expert that was asked for.
  private final class Slot: Sendable {
    enum Phase {
      case waiting, reading
      /// With the weights unless they could not be read.
      case read(ExpertWeights?)
      /// Nobody waits for it any more.
      case dropped
    }
    let inPlace: ExpertWeights
    let phase = Mutex(Phase.waiting)
    let isRead = DispatchSemaphore(value: 0)
    init(_ inPlace: ExpertWeights) { self.inPlace = inPlace }

    /// - Returns: whether it was still waiting.
    func begin() -> Bool {
      phase.withLock {
        guard case .waiting = $0 else { return false }
        $0 = .reading
        return true
      }
    }

    /// - Returns: whether somebody will take it.
    func end(_ weights: ExpertWeights?) -> Bool {
      defer { isRead.signal() }
      return phase.withLock {
        guard case .reading = $0 else { return false }
        $0 = .read(weights)
        return true
      }
    }

    /// - Returns: the phase it was in.
    func drop() -> Phase {
      phase.withLock { phase in
        defer { phase = .dropped }
        return phase
      }
    }
  }

  private let reader: PastCacheReader
  private let slots = Mutex<[Key: Slot]>([:])
  /// One for each expert that may be read before it is taken. Not as the initial value, which a semaphore would have to have again
  /// at its end.
  private let room = DispatchSemaphore(value: 0)
  private let queue = WorkQueue(threads: threads)

  /// - Parameters:
  ///   - largest: bytes of the largest piece that an expert's weights lie in.
  ///   - count: of experts that may be read before they are taken, at least one.
  package init(largest: Int, count: Int) {
    reader = PastCacheReader(largest: largest)
    for _ in 0..<count { room.signal() }
  }

  /// Dropping all gives room back, so that work which waits for it ends before the queue does.
  deinit { keepOnly { _ in false } }

  /// Asks for an expert that lies in files.
  ///
  /// - Returns: false where it cannot be read so: there is no thread for it, or the file system has no such access.
  package func ask(_ key: Key, _ inPlace: ExpertWeights) -> Bool {
    guard queue.threadCount > 0, reader.canRead(inPlace) else { return false }
    let slot = Slot(inPlace)
    let isNew = slots.withLock { slots in
      guard slots[key] == nil else { return false }
      slots[key] = slot
      return true
    }
    guard isNew else { return true }
    queue.async { [reader, room] in
      room.wait()
      guard slot.begin(), slot.end(reader.copy(of: slot.inPlace)) else {
        room.signal()
        return
      }
    }
    return true
  }

  /// An expert that was asked for, once; nil where it was not, or could not be read.
  package func take(_ key: Key) -> ExpertWeights? {
    guard let slot = slots.withLock({ $0.removeValue(forKey: key) }) else { return nil }
    // Not begun yet: its turn may need room that is held by experts which are taken after this one.
    if slot.begin() { return reader.copy(of: slot.inPlace) }
    slot.isRead.wait()
    guard case .read(let weights) = slot.drop() else { return nil }
    room.signal()
    return weights
  }

  /// Forgets what is not wanted.
  package func keepOnly(_ isWanted: (Key) -> Bool) {
    let dropped = slots.withLock { slots in
      let dropped = slots.filter { !isWanted($0.key) }
      for key in dropped.keys { slots[key] = nil }
      return dropped.values
    }
    for slot in dropped {
      if case .read = slot.drop() { room.signal() }
    }
  }
}

/// Copies weights from the files that they lie in, past the page cache.
private final class PastCacheReader: Sendable {
  private let buffers: BufferPool
  /// By the mapping; nil where the file system has no such access.
  private let files = Mutex<[ObjectIdentifier: DirectFile?]>([:])

  init(largest: Int) { buffers = BufferPool(capacity: DirectFile.bufferByteCount(largest)) }

  /// - Returns: nil where reading fails or a file system has no such access.
  func copy(of weights: ExpertWeights) -> ExpertWeights? {
    var copies: [(of: SharedBytes, content: SharedBytes, place: Int)] = []
    func copy(_ matrix: Matrix) -> Matrix? {
      var blocks: [Matrix.Block] = []
      for block in matrix.blocks {
        if !copies.contains(where: { $0.of === block.content }) {
          guard let (content, place) = read(block.content) else { return nil }
          copies.append((block.content, content, place))
        }
        guard let (_, content, place) = copies.first(where: { $0.of === block.content }) else { return nil }
        func moved(_ range: Range<Int>) -> Range<Int> { range.lowerBound + place..<range.upperBound + place }
        blocks.append(
          Matrix.Block(rows: block.rows, content: content, codes: moved(block.codes), scales: moved(block.scales)))
      }
      return Matrix(
        name: matrix.name, encoding: matrix.encoding, shape: Shape(rows: matrix.rows, columns: matrix.columns),
        blocks: blocks)
    }
    guard let gate = copy(weights.gate), let up = copy(weights.up), let down = copy(weights.down) else { return nil }
    return ExpertWeights(gate: gate, up: up, down: down)
  }

  /// Whether the weights lie in files that let reads go past the page cache.
  func canRead(_ weights: ExpertWeights) -> Bool {
    [weights.gate, weights.up, weights.down].allSatisfy {
      $0.blocks.allSatisfy { block in block.content.placeInFile.flatMap { file($0.mapping) } != nil }
    }
  }

  private func file(_ mapping: MappedFile) -> DirectFile? {
    files.withLock { files in
      let known = files[ObjectIdentifier(mapping)] ?? mapping.direct()
      files[ObjectIdentifier(mapping)] = .some(known)
      return known
    }
  }

  private func read(_ bytes: SharedBytes) -> (SharedBytes, place: Int)? {
    guard let (mapping, range) = bytes.placeInFile, DirectFile.bufferByteCount(range.count) <= buffers.capacity else {
      return nil
    }
    var buffer = buffers.take()
    guard let place = try? file(mapping)?.read(range, into: &buffer) else { return nil }
    return (SharedBytes(buffer), place.lowerBound)
  }
}
