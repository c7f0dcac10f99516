/// Byte-level byte-pair encoding: a piece of text starts as its bytes, and the pair of neighbours that comes first in
/// the list of merges is joined, leftmost first, until no pair is in the list.
struct BytePairEncoding: Sendable {
  /// The token of each byte, −1 where there is none, which only bytes have that UTF-8 never contains.
  private let byteIDs: [Int32]
  private let merges: MergeTable
  /// Tokens that are taken whole when a piece equals one, by their bytes; empty where merges alone decide.
  private let wholeTokens: [[UInt8]: Int32]

  init(byteIDs: [Int32], merges: MergeTable, wholeTokens: [[UInt8]: Int32]) {
    precondition(byteIDs.count == 256)
    self.byteIDs = byteIDs
    self.merges = merges
    self.wholeTokens = wholeTokens
  }

  /// Working memory, kept between pieces.
  struct Scratch {
    fileprivate var symbols: [Symbol] = []
    fileprivate var heap = MinHeap()
  }

  /// A token in the making; neighbours by index, −1 at the ends. A symbol that was joined to its left has id −1.
  fileprivate struct Symbol {
    var id: Int32
    var previous: Int
    var next: Int
  }

  /// Appends the tokens of a piece. Time grows with n log n whatever the text.
  func encode(_ text: [UInt8], _ piece: Range<Int>, _ scratch: inout Scratch, into ids: inout [Int]) {
    if !wholeTokens.isEmpty, let id = wholeTokens[Array(text[piece])] { return ids.append(Int(id)) }
    if piece.count == 1 { return ids.append(Int(byteIDs[Int(text[piece.lowerBound])])) }
    scratch.symbols.removeAll(keepingCapacity: true)
    for (index, offset) in piece.enumerated() {
      scratch.symbols.append(Symbol(id: byteIDs[Int(text[offset])], previous: index - 1, next: index + 1))
    }
    scratch.symbols[piece.count - 1].next = -1
    for left in 0..<piece.count - 1 { push(left, &scratch) }
    while let (rank, left) = scratch.heap.pop() {
      let right = scratch.symbols[left].next
      // Entries are not removed when a neighbour is joined elsewhere; they no longer agree with the pair.
      guard right >= 0, scratch.symbols[left].id >= 0,
        let merge = merges[scratch.symbols[left].id, scratch.symbols[right].id], merge.rank == rank
      else { continue }
      let next = scratch.symbols[right].next
      scratch.symbols[left].id = merge.id
      scratch.symbols[left].next = next
      scratch.symbols[right].id = -1
      if next >= 0 {
        scratch.symbols[next].previous = left
        push(left, &scratch)
      }
      let previous = scratch.symbols[left].previous
      if previous >= 0 { push(previous, &scratch) }
    }
    var index = 0
    while index >= 0 {
      ids.append(Int(scratch.symbols[index].id))
      index = scratch.symbols[index].next
    }
  }

  private func push(_ left: Int, _ scratch: inout Scratch) {
    let right = scratch.symbols[left].next
    guard let merge = merges[scratch.symbols[left].id, scratch.symbols[right].id] else { return }
    scratch.heap.push(rank: merge.rank, index: left)
  }
}

/// What each pair of tokens joins to and how early: a hash table with open addressing.
struct MergeTable: Sendable {
  /// Ranks share a word with positions in text.
  static var maximumCount: Int { 1 << 24 }

  private var keys: [UInt64]
  /// Rank in the upper half, id in the lower.
  private var values: [UInt64]
  private let mask: Int

  init(capacity: Int) {
    var size = 16
    while size < capacity * 2 { size *= 2 }
    keys = [UInt64](repeating: .max, count: size)
    values = [UInt64](repeating: 0, count: size)
    mask = size - 1
  }

  /// Where the pair is, or the free place where it belongs.
  private func slot(_ key: UInt64) -> Int {
    let mixed = (key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15
    var slot = Int(truncatingIfNeeded: mixed >> 24) & mask
    while keys[slot] != key, keys[slot] != .max { slot = (slot + 1) & mask }
    return slot
  }

  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  subscript(left: Int32, right: Int32) -> (rank: Int, id: Int32)? {
    let key = Self.key(left, right)
    let slot = slot(key)
    guard keys[slot] == key else { return nil }
    return (Int(values[slot] >> 32), Int32(truncatingIfNeeded: values[slot]))
  }

  /// Adds a merge; a pair that is listed twice has its last rank, as in the other library. At most `capacity` pairs.
  mutating func insert(_ left: Int32, _ right: Int32, rank: Int, id: Int32) {
    let key = Self.key(left, right)
    let slot = slot(key)
    keys[slot] = key
    values[slot] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: id))
  }
}

/// A binary heap that gives the lowest rank first and, among equals, the leftmost.
private struct MinHeap {
  /// Rank above, 40 bits of index below.
  private var entries: [UInt64] = []

  mutating func push(rank: Int, index: Int) {
    let entry = UInt64(rank) << 40 | UInt64(index)
    var child = entries.count
    entries.append(entry)
    while child > 0 {
      let parent = (child - 1) / 2
      guard entries[parent] > entry else { break }
      entries[child] = entries[parent]
      child = parent
    }
    entries[child] = entry
  }

  mutating func pop() -> (rank: Int, index: Int)? {
    guard let top = entries.first, let last = entries.popLast() else { return nil }
    let count = entries.count
    var parent = 0
    while count > 0 {
      var child = 2 * parent + 1
      guard child < count else { break }
      if child + 1 < count, entries[child + 1] < entries[child] { child += 1 }
      guard entries[child] < last else { break }
      entries[parent] = entries[child]
      parent = child
    }
    if count > 0 { entries[parent] = last }
    return (Int(top >> 40), Int(top & (1 << 40 - 1)))
  }
}
