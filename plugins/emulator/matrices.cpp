#include "matrices.h"

#include <cstring>

#include "block.h"
#include "rounding.h"

namespace ccdeploy::emulator {
namespace {

constexpr int kRows = 16, kColumns = 8, kDepth = 16; // of a product

struct Load {
    uint32_t row; // address
    Instruction instruction;
    Site site;
    uint32_t matrix[4];
};

struct Product {
    uint32_t a[4];
    uint32_t b[2];
    float c[4];
};

void load_all(Block& block, int first_thread, void* const (&operands)[kLanes])
{
    Load* lane[kLanes];
    for (int i = 0; i < kLanes; ++i)
        lane[i] = static_cast<Load*>(operands[i]);
    bool const transposed = lane[0]->instruction == Instruction::kLoadMatricesTransposed;
    for (int i = 0; i < kLanes; ++i) {
        int const matrix = i / 8, row = i % 8;
        uint16_t value[8];
        block.shared_memory().read(value, lane[i]->row, sizeof value,
                                   {first_thread + i, lane[i]->instruction, lane[i]->site}, true);
        for (int column = 0; column < 8; ++column) {
            int const group = transposed ? column : row;
            int const across = transposed ? row : column;
            std::memcpy(reinterpret_cast<char*>(&lane[group * 4 + across / 2]->matrix[matrix]) + across % 2 * 2,
                        &value[column], 2);
        }
    }
}

// Decode: from the 16 bits of a value to float32.
template <class Decode>
void multiply_all(Block& block, void* const (&operands)[kLanes], Decode decode)
{
    float a[kRows][kDepth], b[kDepth][kColumns], c[kRows][kColumns];
    for (int i = 0; i < kLanes; ++i) {
        Product const& lane = *static_cast<Product const*>(operands[i]);
        int const group = i / 4, member = i % 4;
        for (int part = 0; part < 2; ++part) {
            int const two = member * 2 + part;
            auto const value = [&](uint32_t pair) { return decode(static_cast<uint16_t>(pair >> 16 * part)); };
            a[group][two] = value(lane.a[0]);
            a[group + 8][two] = value(lane.a[1]);
            a[group][two + 8] = value(lane.a[2]);
            a[group + 8][two + 8] = value(lane.a[3]);
            b[two][group] = value(lane.b[0]);
            b[two + 8][group] = value(lane.b[1]);
            c[group][two] = lane.c[part];
            c[group + 8][two] = lane.c[part + 2];
        }
    }
    for (int row = 0; row < kRows; ++row)
        for (int k = 0; k < kDepth; ++k)
            for (int column = 0; column < kColumns; ++column)
                c[row][column] += a[row][k] * b[k][column];
    for (int i = 0; i < kLanes; ++i) {
        Product& lane = *static_cast<Product*>(operands[i]);
        for (int j = 0; j < 4; ++j)
            lane.c[j] = c[i / 4 + j / 2 * 8][i % 4 * 2 + j % 2];
    }
    ++block.counted.multiply_adds;
}

void multiply_all_half(Block& block, int, void* const (&operands)[kLanes])
{
    multiply_all(block, operands, [](uint16_t bits) { return float_of(Half{bits}); });
}

void multiply_all_bfloat16(Block& block, int, void* const (&operands)[kLanes])
{
    multiply_all(block, operands, [](uint16_t bits) { return float_of(Bfloat16{bits}); });
}

void multiply_add(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Instruction instruction, Site site,
                  Block::Work work)
{
    Product product{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
    Block::current().meet(instruction, site, &product, work);
    std::memcpy(c, product.c, sizeof c);
}

} // namespace

void load_four_matrices(uint32_t (&matrix)[4], uint32_t row, bool transposed, Site site)
{
    Load load{row, transposed ? Instruction::kLoadMatricesTransposed : Instruction::kLoadMatrices, site, {}};
    Block::current().meet(load.instruction, site, &load, &load_all);
    std::memcpy(matrix, load.matrix, sizeof matrix);
}

void multiply_add_half(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Site site)
{
    multiply_add(c, a, b0, b1, Instruction::kMultiplyAddHalf, site, &multiply_all_half);
}

void multiply_add_bfloat16(float (&c)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1, Site site)
{
    multiply_add(c, a, b0, b1, Instruction::kMultiplyAddBfloat16, site, &multiply_all_bfloat16);
}

} // namespace ccdeploy::emulator
