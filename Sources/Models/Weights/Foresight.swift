import Pack
import Storage
import Synchronization

/// Asks the disk for what the next layer will probably use, while this one computes: for a model that is larger than memory.
///
/// A step of a block chooses most of the experts of the step before, so those are asked for before the router has spoken, and
/// what comes before them with them. Nothing is asked for while all that is used is in memory.
///
/// An expert that was used in the pass before and is not in memory was pushed out, then or before. Where that happens, what is
/// missing is read past the page cache, so that what did stay stays (``EvictedExperts``). Where the system does not tell what is in
/// memory, experts are asked for when they are used, as is all that was never used before.
final class Foresight: Sendable {
  /// A layer with experts, and what comes behind it.
  struct Layer {
    /// The next layer with experts; after the last one, in the next pass, the first.
    var next = 0
    /// What is used between the experts of the two.
    var between: [StoredTensor] = []
  }
  /// What only a model that is larger than memory needs to know of itself.
  private struct Plan {
    var layers: [Layer]
    /// Bytes of the largest piece that an expert lies in, and how many experts there is memory for.
    var largestPiece: Int
    var aheadCount: Int
  }
  private final class Shared: Sendable {
    struct State {
      /// By layer, the experts used last, and how often some were used.
      var chosen: [[Int]]
      var uses: [Int]
      /// Layers to go until nobody looks ahead any more, unless something is missing again.
      var watch = 0
    }
    let state: Mutex<State>
    init(layerCount: Int) {
      state = Mutex(
        State(chosen: .init(repeating: [], count: layerCount), uses: .init(repeating: 0, count: layerCount)))
    }
  }

  private let store: ModelStore
  private var files: ModelFiles { store.files }
  /// By layer and expert, the projections.
  private let experts: [[[StoredTensor]]]
  private let shared: Shared
  /// Bytes for experts that were pushed out.
  private let memory: Int
  /// Made when they are needed: a thread for asking, which waits for the disk's queue, and what reads experts that were pushed out.
  private let plan = Mutex<Plan?>(nil)
  private let queue = Mutex<WorkQueue?>(nil)
  private let evicted = Mutex<EvictedExperts?>(nil)
  /// One in so many of those that are missing comes through the page cache all the same: memory may be free again.
  private static let triedAgain = 32

  /// - Parameter memory: bytes for experts that were pushed out; where they are too few, these come through the page cache.
  init(_ store: ModelStore, experts: [[[StoredTensor]]], memory: Int) {
    self.store = store
    self.memory = memory
    self.experts = experts
    shared = Shared(layerCount: experts.count)
  }

  private static func layers(_ store: ModelStore, _ experts: [[[StoredTensor]]]) -> [Layer] {
    var others = experts.map { _ in [StoredTensor]() }
    var end: [StoredTensor] = []
    // Of the embedding only some rows are read; what is unpacked is kept in memory of our own.
    for item in store.items where !item.isExpert && item.id.role != .embedding {
      let tensors = item.tensors.compactMap { store.tensor($0.id) }.filter(store.files.hasInPlace)
      if let layer = item.id.layer { others[layer] += tensors } else { end += tensors }
    }
    return experts.indices.map { layer in
      if let next = experts[(layer + 1)...].firstIndex(where: { !$0.isEmpty }) {
        return Layer(next: next, between: others[layer + 1...next].flatMap { $0 })
      }
      let first = experts.firstIndex { !$0.isEmpty } ?? 0
      return Layer(next: first, between: others[(layer + 1)...].flatMap { $0 } + end + others[...first].flatMap { $0 })
    }
  }

  /// Says which experts of a layer are used now, and asks for those that are not in memory. For one pass at a time.
  ///
  /// - Parameter inPlace: an expert that is used where it lies, if that is known of it.
  func use(layer: Int, experts indices: [Int], inPlace: (_ layer: Int, _ expert: Int) -> ExpertWeights?) {
    let missing = missing(layer, indices)
    guard !missing.isEmpty || shared.state.withLock({ $0.watch > 0 }) else {
      shared.state.withLock { $0.chosen[layer] = indices }
      return
    }
    guard files.places(layer, missing, of: experts).allSatisfy(\.residencyIsTold) else {
      for place in files.places(layer, missing, of: experts) { place.willNeed() }
      return
    }
    let plan = madePlan
    let behind = plan.layers[layer]
    let (previous, expected, turns, isOver) = shared.state.withLock { state in
      let previous = state.chosen[layer]
      state.chosen[layer] = indices
      state.uses[layer] += 1
      state.watch = missing.isEmpty ? state.watch - 1 : state.chosen.count
      let expected = state.chosen[behind.next]
      // After a prompt those would be nearly all; and a layer behind itself has been used just now.
      let isLikely = behind.next != layer && expected.count <= 2 * indices.count
      return (previous, isLikely ? expected : [], (state.uses[layer], state.uses[behind.next] + 1), state.watch == 0)
    }
    guard !isOver else {
      // Waits for its threads, so not under the lock.
      let done = evicted.withLock { evicted in
        defer { evicted = nil }
        return evicted
      }
      return withExtendedLifetime(done) {}
    }
    evicted.withLock(\.self)?.keepOnly {
      $0.layer == layer ? indices.contains($0.expert) : $0.layer == behind.next
    }
    // Where some were pushed out, the others would push out more.
    let cached = missing.contains(where: previous.contains) ? past(layer, missing, turns.0, plan, inPlace) : missing
    let next = past(behind.next, self.missing(behind.next, expected), turns.1, plan, inPlace)
    let queue = queue.withLock { queue in
      let made = queue ?? WorkQueue(threads: 1)
      queue = made
      return made
    }
    queue.async { [files, experts, shared] in
      let places =
        files.places(layer, cached, of: experts) + files.places(of: behind.between)
        + files.places(behind.next, next, of: experts)
      let isShort = places.reduce(false) { $1.willNeed() || $0 }
      if isShort { shared.state.withLock { $0.watch = $0.chosen.count } }
    }
  }

  private var madePlan: Plan {
    plan.withLock { plan in
      if let plan { return plan }
      let pieces = experts.joined().map { files.places(of: $0).map(\.byteCount) }
      let made = Plan(
        layers: Self.layers(store, experts), largestPiece: pieces.joined().max() ?? 0,
        aheadCount: EvictedExperts.count(
          expertByteCount: pieces.map { $0.reduce(0, +) }.max() ?? 0, memory: memory))
      plan = made
      return made
    }
  }

  /// An expert that was read past the page cache for this use; nil where that was not asked for, or failed.
  func take(layer: Int, expert: Int) -> ExpertWeights? {
    evicted.withLock(\.self)?.take(.init(layer: layer, expert: expert))
  }

  private func missing(_ layer: Int, _ indices: [Int]) -> [Int] {
    indices.filter { expert in !files.places(of: experts[layer][expert]).allSatisfy(\.isResident) }
  }

  /// Asks for experts past the page cache.
  ///
  /// - Parameter turn: which use of the layer it is for.
  /// - Returns: those which are to come through it.
  private func past(
    _ layer: Int, _ indices: [Int], _ turn: Int, _ plan: Plan, _ inPlace: (Int, Int) -> ExpertWeights?
  ) -> [Int] {
    guard plan.aheadCount > 0 else { return indices }
    return indices.filter { expert in
      guard (expert + turn) % Self.triedAgain != 0, let weights = inPlace(layer, expert) else { return true }
      let reader = evicted.withLock { evicted in
        let made = evicted ?? EvictedExperts(largest: plan.largestPiece, count: plan.aheadCount)
        evicted = made
        return made
      }
      return !reader.ask(.init(layer: layer, expert: expert), weights)
    }
  }
}

extension ModelFiles {
  /// Whether a tensor is used where it lies.
  fileprivate func hasInPlace(_ tensor: StoredTensor) -> Bool {
    switch (self, tensor.place) {
    case (.checkpoint, .bytes): true
    case (.pack(let pack), .chunks(let record)): record.chunks.allSatisfy { (try? pack.chunk($0))?.codec == .raw }
    default: false
    }
  }

  fileprivate func places(_ layer: Int, _ indices: [Int], of experts: [[[StoredTensor]]]) -> [SharedBytes] {
    indices.flatMap { places(of: experts[layer][$0]) }
  }
}
