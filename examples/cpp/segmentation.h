// From a picture to a network's input, and from its output to classes and colours: what ccdeploy does in Python, for
// one whole picture. All interpolation is bilinear between pixel centres.
#pragma once

#include <vector>

#include "manifest.h"
#include "picture.h"

namespace ccdeploy {

// A picture of another size, rounded to 8 bits.
Picture resized(Picture const& picture, int height, int width);

// Fills one slot of a network's input with a picture of its size: as it is (uint8 [H, W, 3]), or (value - mean) / std
// in the network's channel order (float32 [3, H, W]).
void fill_image(Picture const& picture, uint8_t* input);
void fill_tensor(Picture const& picture, Manifest const& manifest, float* input);

// The class of each pixel of a picture of `height` x `width`: the largest of the logits [classes, h, w] enlarged to it,
// or the nearest of the labels [h, w]. There are at most 256 classes.
Picture classes_of_logits(float const* logits, int64_t classes, int h, int w, bool align_corners, int height,
                          int width);
Picture classes_of_labels(uint8_t const* labels, int h, int w, int height, int width);

// What classes are called and how they are shown; the manifest's, or numbers and grey levels where it has none.
std::vector<ClassInfo> class_table(Manifest const& manifest, size_t classes);

// The picture with each pixel half its own colour and half its class's.
Picture overlay(Picture const& picture, Picture const& classes, std::vector<ClassInfo> const& table);

} // namespace ccdeploy
