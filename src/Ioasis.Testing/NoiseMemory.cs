using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing;

/// <summary>
/// Memory whose content is noise that looks like tables: most doublewords are valid entries that point to each other, so that walks
/// go deep, meet loops and leave the memory (tables of RISC-V). What is written stays (in a small direct-mapped store). Counts accesses.
/// The same seed and the same accesses give the same content.
/// </summary>
/// <param name="seed">Decides the content.</param>
public sealed class NoiseMemory(ulong seed) : IPhysicalMemory
{
    private const int SlotsLog2 = 12;
    private readonly (ulong Address, ulong Value)[] _written = new (ulong, ulong)[1 << SlotsLog2];

    /// <summary>How many accesses there were.</summary>
    public long Accesses { get; private set; }

    /// <inheritdoc/>
    public MemoryStatus Read64(PhysicalAddress address, out ulong value)
    {
        Accesses++;
        value = Content(address.Value & ~7ul);
        return Status(address.Value);
    }

    /// <inheritdoc/>
    public MemoryStatus Write64(PhysicalAddress address, ulong value)
    {
        Accesses++;
        MemoryStatus status = Status(~address.Value);
        if (status == MemoryStatus.Success)
        {
            Keep(address.Value & ~7ul, value);
        }

        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Read32(PhysicalAddress address, out uint value)
    {
        MemoryStatus status = Read64(address, out ulong whole);
        value = (uint)(whole >> (int)((address.Value & 4) * 8));
        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write32(PhysicalAddress address, uint value)
    {
        int shift = (int)((address.Value & 4) * 8);
        return Write64(address, (Content(address.Value & ~7ul) & ~(0xffff_fffful << shift)) | ((ulong)value << shift));
    }

    /// <inheritdoc/>
    public MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
    {
        MemoryStatus status = MemoryStatus.Success;
        for (int i = 0; i < destination.Length; i++)
        {
            ulong position = address.Value + (ulong)i;
            if (i == 0 || (position & 7) == 0)
            {
                Accesses++;
                status = status == MemoryStatus.Success ? Status(position & ~7ul) : status;
            }

            destination[i] = (byte)(Content(position & ~7ul) >> (int)((position & 7) * 8));
        }

        return status;
    }

    /// <inheritdoc/>
    public MemoryStatus Write(PhysicalAddress address, ReadOnlySpan<byte> source)
    {
        Accesses++;
        for (int i = 0; i < source.Length; i++)
        {
            ulong position = address.Value + (ulong)i;
            int shift = (int)((position & 7) * 8);
            Keep(position & ~7ul, (Content(position & ~7ul) & ~(0xfful << shift)) | ((ulong)source[i] << shift));
        }

        return Status(~address.Value);
    }

    /// <inheritdoc/>
    public MemoryStatus CompareExchange64(PhysicalAddress address, ulong expected, ulong desired, out ulong observed)
    {
        Accesses++;
        observed = Content(address.Value & ~7ul);
        MemoryStatus status = Status(~address.Value);
        if (status == MemoryStatus.Success)
        {
            // Now and then somebody else is faster.
            if (((Mix(address.Value + (ulong)Accesses) >> 5) & 15) == 0)
            {
                observed ^= 1ul << (int)(Mix((ulong)Accesses) & 63);
                Keep(address.Value & ~7ul, observed);
            }

            if (observed == expected)
            {
                Keep(address.Value & ~7ul, desired);
            }
        }

        return status;
    }

    /// <inheritdoc/>
    public nint TryGetHostPointer(PhysicalAddress address, ulong length) => 0;

    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 31)) * 0x7fb5_d329_728e_a185;
        value = (value ^ (value >> 27)) * 0x81da_def4_bc2d_d44d;
        return value ^ (value >> 33);
    }

    private void Keep(ulong address, ulong value) => _written[Mix(address) >> (64 - SlotsLog2)] = (address | 1, value);

    private MemoryStatus Status(ulong address) => (Mix(address ^ seed ^ 0x5a5a) & 0xff) switch
    {
        0 => MemoryStatus.AccessFault,
        1 => MemoryStatus.DataCorruption,
        _ => MemoryStatus.Success,
    };

    private ulong Content(ulong address)
    {
        (ulong kept, ulong value) = _written[Mix(address) >> (64 - SlotsLog2)];
        if (kept == (address | 1))
        {
            return value;
        }

        ulong noise = Mix(address ^ seed);
        return (noise & 7) switch
        {
            // Pure noise; zero; a non-leaf entry; a leaf without reserved bits; and pieces of contexts: a mode on top, few low bits.
            0 => Mix(noise),
            1 => (noise >> 8) & 0xfff,
            2 or 3 => ((noise >> 20) & 0xffff) << 10 | 1,
            4 => ((noise >> 20) & 0xf_ffff_ffff) << 10 | ((noise >> 8) & 0xff) | 1,
            5 => ((noise >> 60) << 60) | ((noise >> 20) & 0xffff),
            6 => (((noise >> 60) & 3) + 8) << 60 | ((noise >> 20) & 0xfffc),
            _ => ((noise >> 20) & 0xffff) << 12 | 0xd7,
        };
    }
}
