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

  /// A token in the making; neighbours by index, −1 at the ends.
  fileprivate struct Symbol {
    var id: Int32
    /// What this and the next symbol join to, and how early; rank −1 when they do not, or when this one is gone.
    var joinedID: Int32 = -1
    var rank = -1
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
    for left in 0..<piece.count - 1 where lookUp(left, &scratch) {
      scratch.heap.append(rank: scratch.symbols[left].rank, index: left)
    }
    scratch.heap.order()
    while let (rank, left) = scratch.heap.pop() {
      // Entries stay in the heap when a neighbour is joined elsewhere; they no longer agree with the pair.
      guard scratch.symbols[left].rank == rank else { continue }
      let right = scratch.symbols[left].next
      let next = scratch.symbols[right].next
      scratch.symbols[left].id = scratch.symbols[left].joinedID
      scratch.symbols[left].next = next
      scratch.symbols[right].rank = -1
      if next >= 0 { scratch.symbols[next].previous = left }
      let previous = scratch.symbols[left].previous
      if lookUp(left, &scratch) { scratch.heap.push(rank: scratch.symbols[left].rank, index: left) }
      if lookUp(previous, &scratch) { scratch.heap.push(rank: scratch.symbols[previous].rank, index: previous) }
    }
    var index = 0
    while index >= 0 {
      ids.append(Int(scratch.symbols[index].id))
      index = scratch.symbols[index].next
    }
  }

  /// Notes what a symbol and the next one join to; false when there is no symbol, no next one, or no merge.
  private func lookUp(_ left: Int, _ scratch: inout Scratch) -> Bool {
    guard left >= 0 else { return false }
    let right = scratch.symbols[left].next
    guard right >= 0, let merge = merges[scratch.symbols[left].id, scratch.symbols[right].id] else {
      scratch.symbols[left].rank = -1
      return false
    }
    scratch.symbols[left].rank = merge.rank
    scratch.symbols[left].joinedID = merge.id
    return true
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

  private static func entry(_ rank: Int, _ index: Int) -> UInt64 { UInt64(rank) << 40 | UInt64(index) }

  /// Adds an entry out of order; `order` must follow.
  mutating func append(rank: Int, index: Int) { entries.append(Self.entry(rank, index)) }

  mutating func order() {
    for parent in stride(from: entries.count / 2 - 1, through: 0, by: -1) { sink(entries[parent], from: parent) }
  }

  mutating func push(rank: Int, index: Int) {
    let entry = Self.entry(rank, index)
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
    if !entries.isEmpty { sink(last, from: 0) }
    return (Int(top >> 40), Int(top & (1 << 40 - 1)))
  }

  /// Puts an entry into the place `parent`, or below it if smaller ones are there.
  private mutating func sink(_ entry: UInt64, from parent: Int) {
    var parent = parent
    while true {
      var child = 2 * parent + 1
      guard child < entries.count else { break }
      if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
      guard entries[child] < entry else { break }
      entries[parent] = entries[child]
      parent = child
    }
    entries[parent] = entry
  }
}
