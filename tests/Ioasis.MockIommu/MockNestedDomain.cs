using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <summary>A guest's table of the mock: four words that stand for what an IOMMU has cached of it.</summary>
internal sealed class MockNestedDomain(PagingDomain parent, MockVirtualIommu? guest, uint cached) : NestedDomain
{
    /// <summary>IOMMU_HWPT_DATA_SELFTEST.</summary>
    public const uint DataType = 0xdead;

    private const uint InvalidateType = 0xdead_beef;
    private readonly uint[] _cached = [cached, cached, cached, cached];

    /// <inheritdoc/>
    public override PagingDomain Parent => parent;

    /// <summary>The part of the IOMMU that it was made of, if any.</summary>
    public MockVirtualIommu? Guest => guest;

    /// <summary>Makes one of what a guest wants.</summary>
    public static Errno TryMake(
        PagingDomain parent, MockVirtualIommu? guest, uint type, ReadOnlySpan<byte> data, out NestedDomain? domain)
    {
        domain = null;
        if (type != DataType)
        {
            return Errno.NotSupported;
        }

        if (data.Length < sizeof(uint) || parent is not MockPagingDomain { IsNestParent: true })
        {
            return Errno.InvalidArgument;
        }

        domain = new MockNestedDomain(parent, guest, BinaryPrimitives.ReadUInt32LittleEndian(data));
        return Errno.Success;
    }

    /// <summary>Whether a word is as expected.</summary>
    public bool Caches(uint index, uint expected) => index < _cached.Length && _cached[index] == expected;

    /// <inheritdoc/>
    public override Errno Invalidate(uint dataType, ReadOnlySpan<byte> entries, int entryLength, ref uint count)
    {
        return MockInvalidation.Run(dataType == InvalidateType, entries, entryLength, 2, ref count, words =>
        {
            if ((words[0] & ~1u) != 0)
            {
                return Errno.NotSupported;
            }

            return MockInvalidation.Forget(_cached, (words[0] & 1) != 0, words[1]);
        });
    }
}

/// <summary>What the two kinds of requests to forget have in common.</summary>
internal static class MockInvalidation
{
    /// <summary>Carries the requests out, up to the first that is not well-formed.</summary>
    public static Errno Run(
        bool isKnown, ReadOnlySpan<byte> entries, int length, int wordCount, ref uint count, Func<uint[], Errno> request)
    {
        uint wanted = count;
        count = 0;
        if (!isKnown)
        {
            return Errno.InvalidArgument;
        }

        int size = wordCount * sizeof(uint);
        while (count < wanted)
        {
            if (length != size)
            {
                return Errno.InvalidArgument;
            }

            ReadOnlySpan<byte> entry = entries.Slice((int)count * length, length);
            uint[] words = new uint[wordCount];
            for (int i = 0; i < wordCount; i++)
            {
                words[i] = BinaryPrimitives.ReadUInt32LittleEndian(entry[(i * sizeof(uint))..]);
            }

            Errno error = request(words);
            if (error != Errno.Success)
            {
                return error;
            }

            count++;
        }

        return Errno.Success;
    }

    /// <summary>Forgets one word, or all.</summary>
    public static Errno Forget(uint[] cached, bool all, uint index)
    {
        if (index >= cached.Length)
        {
            return Errno.InvalidArgument;
        }

        if (all)
        {
            Array.Clear(cached);
        }
        else
        {
            cached[index] = 0;
        }

        return Errno.Success;
    }
}
