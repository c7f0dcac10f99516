import Storage

/// Reads weights ahead of a run that goes once through the layers with so many rows that it uses nearly all experts.
///
/// A run that waits for each weight when it comes to it leaves the disk idle while it computes. Only a bounded number of
/// bytes is read ahead, so that what comes later does not push out of the page cache what comes first.
package final class ReadAhead {
  /// How far ahead, in bytes: at two gigabytes a second a quarter of a second, longer than any product takes.
  private static let distance = 512 << 20
  /// Below so many choices for each expert, some experts are likely to be left out, and reading them would be in vain.
  private static let choicesPerExpert = 3

  /// Reads experts past the page cache; nil where they are asked for like all else.
  package let experts: ExpertReader?
  private let places: [SharedBytes]
  /// By place, the bytes before it.
  private let starts: [Int]
  /// By layer, its first place.
  private let layers: [Int]
  /// By layer and expert, the first place; empty with a reader.
  private let expertPlaces: [[Int]]
  private var next = 0
  private let queue = WorkQueue(threads: 1)

  /// - Parameters:
  ///   - rows: that go through each layer.
  ///   - isOnly: whether nobody else comes to the same weights, so that they need not stay in the page cache.
  ///   - memory: bytes for experts that are not in the page cache.
  ///   - threads: that multiply.
  /// - Returns: nil where the rows are too few.
  package init?(_ weights: any WeightSource, rows: Int, isOnly: Bool = false, memory: Int = 0, threads: Int = 1) {
    let c = weights.configuration
    guard rows * c.expertsPerToken >= Self.choicesPerExpert * c.expertCount else { return nil }
    experts =
      isOnly && rows <= MixtureOfExperts.tileRows(c)
      ? weights.expertReader(memory: min(memory, Self.distance), threads: threads) : nil
    var places: [SharedBytes] = []
    var starts: [Int] = []
    var layers = [Int](repeating: 0, count: c.layerCount)
    var expertPlaces = [[Int]](repeating: [], count: c.layerCount)
    var byteCount = 0
    var last: Int?
    for item in weights.items {
      if item.id.role == .embedding { continue }  // only some of its rows are read
      if let layer = item.id.layer {
        if layer != last { layers[layer] = places.count }
        last = layer
        if item.isExpert {
          if experts != nil { continue }
          expertPlaces[layer].append(places.count)
        }
      }
      for place in weights.places(of: item) {
        places.append(place)
        starts.append(byteCount)
        byteCount += place.byteCount
      }
    }
    self.places = places
    self.starts = starts
    self.layers = layers
    self.expertPlaces = expertPlaces
  }

  /// Says that the run has come to a layer.
  package func reached(layer: Int) { reached(place: layers[layer]) }

  /// Says that the run has come to an expert.
  func reached(layer: Int, expert: Int) { if experts == nil { reached(place: expertPlaces[layer][expert]) } }

  private func reached(place: Int) {
    guard place < places.count else { return }
    let first = next
    while next < places.count, starts[next] < starts[place] + Self.distance { next += 1 }
    guard first < next else { return }
    // Asking waits for the disk's queue.
    queue.async { [places, first, next] in
      for place in places[first..<next] { place.willNeed() }
    }
  }
}
