package import Storage

/// Where a model's weights come from: a checkpoint in full precision, or a pack. One call a tensor or expert, none a row.
package protocol WeightSource: Sendable {
  var configuration: ModelConfiguration { get }
  var architecture: any Architecture.Type { get }
  /// All that the model consists of, in the order of the forward pass.
  var items: [ModelItem] { get }
  /// What messages call the source.
  var path: String { get }
  /// What its weights are multiplied as.
  var arithmetic: WeightArithmetic { get }
  /// What a person should know of the source.
  var notes: [SourceNote] { get }
  func hasTensor(_ id: TensorID) -> Bool
  /// - Throws: ``ModelError/missingTensor(_:directory:)`` and what reading throws.
  func matrix(_ id: TensorID) throws(ModelError) -> Matrix
  /// One expert; the three projections come together.
  func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights
  /// Says which experts the next products will ask for, so that they can be read ahead; a hint.
  func willNeed(layer: Int, experts: [Int])
  /// Where the bytes of an item lie, as they are stored; to be read ahead.
  func places(of item: ModelItem) -> [SharedBytes]
  /// Reads all experts once, past the page cache, in at most so many bytes of memory, for some threads that multiply; nil where
  /// that is not possible.
  func expertReader(memory: Int, threads: Int) -> ExpertReader?
  /// How the cache of unpacked chunks did; zeros where nothing is unpacked.
  var counters: WeightCounters { get }
  /// A file beside the weights, such as `tokenizer.json`; nil when there is none.
  func file(named name: String) throws(ModelError) -> [UInt8]?
  /// Refuses what was computed where a file was written to meanwhile: some of its weights may be from before, some from
  /// after.
  func requireUnchanged() throws(ModelError)
}

/// What reading weights cost.
package struct WeightCounters: Sendable, Equatable {
  /// Experts asked for.
  package var experts = 0
  /// How many of them needed no unpacking.
  package var hits = 0
  /// How many of these were used where they lie and never need any.
  package var inPlace = 0
  /// How many of those were pushed out of memory since they were used last, and read past the page cache.
  package var evicted = 0
  /// Bytes of weights handed out.
  package var bytesRead = 0

  package init() {}
}

extension WeightSource {
  package var arithmetic: WeightArithmetic { .fp32 }
  package func expertReader(memory: Int, threads: Int) -> ExpertReader? { nil }
}
