import Safetensors
import Synchronization
package import Tensors

/// The weights of a checkpoint as they are, mapped.
package final class CheckpointWeights: WeightSource {
  package let configuration: ModelConfiguration
  package let path: String
  private let model: CheckpointModel
  private let sources: [String: CheckpointModel.Source]
  private let experts: [[[CheckpointModel.Source]]]
  private let counted = Mutex(WeightCounters())

  /// - Throws: ``ModelError``, and ``SafetensorsError`` inside ``ModelError/source(_:)``.
  package convenience init(directory: String) throws(ModelError) {
    let checkpoint: Checkpoint
    let config: [UInt8]
    do throws(SafetensorsError) {
      checkpoint = try Checkpoint(directory: directory)
      config = try checkpoint.readSmallFile(name: "config.json")
    } catch { throw .source(error) }
    let configuration = try ModelConfiguration(json: config, path: "\(directory)/config.json")
    self.init(try CheckpointModel(checkpoint, configuration: configuration), path: directory)
  }

  private init(_ model: CheckpointModel, path: String) {
    self.model = model
    self.path = path
    configuration = model.configuration
    var sources: [String: CheckpointModel.Source] = [:]
    var experts = Array(repeating: [[CheckpointModel.Source]](), count: model.configuration.layerCount)
    for item in model.items {
      switch item {
      case .tensor(let source): sources[source.tensor.name] = source
      case .expert(let layer, _, let projections): experts[layer].append(projections)
      }
    }
    self.sources = sources
    self.experts = experts
  }

  package var counters: WeightCounters { counted.withLock { $0 } }

  package func hasTensor(_ name: String) -> Bool { sources[name] != nil }

  package func matrix(_ name: String) throws(ModelError) -> Matrix {
    guard let source = sources[name] else { throw .missingTensor(name, directory: path) }
    return matrix(source)
  }

  package func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    let projections = experts[layer][expert]
    let weights = ExpertWeights(
      gate: matrix(projections[0]), up: matrix(projections[1]), down: matrix(projections[2]))
    count(weights)
    return weights
  }

  private func count(_ weights: ExpertWeights) {
    counted.withLock {
      $0.experts += 1
      $0.hits += 1
      $0.inPlace += 1
      $0.bytesRead += weights.byteCount
    }
  }

  package func willNeed(layer: Int, experts indices: [Int]) {
    for index in indices {
      for source in experts[layer][index] { file(of: source).willNeed(source.byteRange) }
    }
  }

  package func places(of item: ModelItem) -> [HeldBytes] {
    let own: [CheckpointModel.Source] =
      switch item {
      case .tensor(let tensor): sources[tensor.name].map { [$0] } ?? []
      case .expert(let layer, let expert, _): experts[layer][expert]
      }
    return own.map { HeldBytes(file(of: $0), $0.byteRange) }
  }

  package func expertReader(memory: Int, threads: Int) -> ExpertReader? {
    ExpertReader(model, experts, memory: memory, computing: threads) { [self] in count($0) }
  }

  package func file(named name: String) throws(ModelError) -> [UInt8]? {
    do throws(SafetensorsError) { return try model.checkpoint.readSmallFile(name: name) } catch {
      if case .system(let failure) = error.reason, failure.isMissing { return nil }
      throw .source(error)
    }
  }

  private func file(of source: CheckpointModel.Source) -> MappedFile { model.checkpoint.files[source.file].file }

  private func matrix(_ source: CheckpointModel.Source) -> Matrix {
    Matrix(source, HeldBytes(file(of: source), source.byteRange), 0..<source.byteRange.count)
  }
}
