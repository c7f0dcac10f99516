package import Safetensors
package import Storage
import Synchronization

/// The weights of a checkpoint as they are, mapped.
package final class CheckpointWeights: WeightSource {
  package let configuration: ModelConfiguration
  package let path: String
  private let model: CheckpointModel
  private let sources: [TensorID: CheckpointModel.Source]
  private let experts: [[[CheckpointModel.Source]]]
  private let counted = Mutex(WeightCounters())

  /// - Throws: ``ModelError``, and ``SafetensorsError`` inside ``ModelError/source(_:)``.
  package convenience init(directory: String) throws(ModelError) {
    self.init(try CheckpointModel(directory: directory), path: directory)
  }

  private init(_ model: CheckpointModel, path: String) {
    self.model = model
    self.path = path
    configuration = model.configuration
    var sources: [TensorID: CheckpointModel.Source] = [:]
    var experts = Array(repeating: [[CheckpointModel.Source]](), count: model.configuration.layerCount)
    for item in model.items {
      if item.isExpert, let layer = item.id.layer {
        experts[layer].append(item.sources)
      } else {
        sources[item.id] = item.sources[0]
      }
    }
    self.sources = sources
    self.experts = experts
  }

  package var notes: [SourceNote] { model.notes }
  /// The files.
  package var checkpoint: Checkpoint { model.checkpoint }

  package var counters: WeightCounters { counted.withLock { $0 } }

  package func hasTensor(_ id: TensorID) -> Bool { sources[id] != nil }

  package func matrix(_ id: TensorID) throws(ModelError) -> Matrix {
    guard let source = sources[id] else { throw .missingTensor(configuration.name(of: id), directory: path) }
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
    let own =
      if let layer = item.id.layer, let expert = item.id.expert {
        experts[layer][expert]
      } else {
        sources[item.id].map { [$0] } ?? []
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

  package func requireUnchanged() throws(ModelError) {
    do throws(SafetensorsError) { try model.checkpoint.requireUnchanged(mayBeReplaced: true) } catch {
      throw .source(error)
    }
  }

  private func file(of source: CheckpointModel.Source) -> MappedFile { model.checkpoint.files[source.file].file }

  private func matrix(_ source: CheckpointModel.Source) -> Matrix {
    Matrix(source, HeldBytes(file(of: source), source.byteRange), 0..<source.byteRange.count)
  }
}
