using Ioasis.Core;
using Ioasis.Kernel;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <content>Looks behind the ABI.</content>
internal sealed partial class MockExtension
{
    private const ulong SystemPage = 4096;
    private const int Sample = 8;

    // Whether a table leads to the very pages that the caller has at an address.
    private Errno CheckMap(IommufdContext context, ReadOnlySpan<byte> argument)
    {
        ulong iova = Long(argument, 16);
        ulong length = Long(argument, 24);
        ulong user = Long(argument, 32);
        if (((iova | length | user) & (MockPagingDomain.PageSize - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        return context.UseDomain(Word(argument, 8), found =>
        {
            if (found is not MockPagingDomain domain)
            {
                return Errno.InvalidArgument;
            }

            for (ulong done = 0; done < length; done += MockPagingDomain.PageSize)
            {
                if (!domain.TryTranslate(new(iova + done), out PhysicalAddress address, out _, out _)
                    || !IsSame(context.Memory, user + done, address))
                {
                    return Errno.InvalidArgument;
                }
            }

            return Errno.Success;
        });
    }

    // By the address where it can be told; memory of files, which others have mapped too, by what is written there.
    private bool IsSame(IUserMemory memory, ulong user, PhysicalAddress address)
    {
        if (memory.Pin(user, Sample, writable: false, out PhysicalAddress pinned, out ulong length) != Errno.Success)
        {
            return false;
        }

        memory.Unpin(pinned, length);
        if (pinned == address)
        {
            return true;
        }

        Span<byte> before = stackalloc byte[Sample];
        Span<byte> changed = stackalloc byte[Sample];
        Span<byte> seen = stackalloc byte[Sample];
        if (Memory!.Read(address, before) != MemoryStatus.Success)
        {
            return false;
        }

        for (int i = 0; i < Sample; i++)
        {
            changed[i] = (byte)~before[i];
        }

        bool same = Memory.Write(address, changed) == MemoryStatus.Success
            && memory.Read(user, seen) == Errno.Success
            && seen.SequenceEqual(changed);
        return Memory.Write(address, before) == MemoryStatus.Success && same;
    }

    // Linux counts pins page by page. Here the kernel's books are asked: nothing is pinned, or at least as much as should be.
    private static Errno CheckReferences(IommufdContext context, ReadOnlySpan<byte> argument)
    {
        ulong length = Long(argument, 16);
        uint expected = Word(argument, 32);
        if (((length | Long(argument, 24)) & (SystemPage - 1)) != 0)
        {
            return Errno.InvalidArgument;
        }

        ulong pinned = (ulong)context.Audit.PinnedBytes;
        return (expected == 0 ? pinned == 0 : pinned >= length) ? Errno.Success : Errno.IoError;
    }

    private static Errno CheckCached(IommufdContext context, uint table, uint index, uint expected) =>
        context.UseDomain(
            table,
            found => found is MockNestedDomain domain && domain.Caches(index, expected) ? Errno.Success : Errno.InvalidArgument);

    private static Errno CheckDeviceCache(IommufdContext context, uint device, uint index, uint expected) =>
        context.UseDevice(
            device,
            found => found.DriverData is MockDeviceState state && index < state.Cache.Length && state.Cache[index] == expected
                ? Errno.Success
                : Errno.InvalidArgument);

    // A device writes the pages whose bits are set in a bitmap of the caller.
    private static Errno SetDirty(IommufdContext context, Span<byte> argument)
    {
        ulong iova = Long(argument, 24);
        ulong length = Long(argument, 32);
        ulong pageSize = Long(argument, 40);
        ulong user = Long(argument, 48);
        if (Word(argument, 16) != 0
            || pageSize == 0
            || iova % pageSize != 0
            || length % pageSize != 0
            || length / pageSize > 1 << 24
            || user == 0)
        {
            return Errno.InvalidArgument;
        }

        byte[] bits = new byte[((length / pageSize) + 7) / 8];
        Errno error = context.Memory.Read(user, bits);
        if (error != Errno.Success)
        {
            return error;
        }

        ulong count = 0;
        error = context.UseDomain(Word(argument, 8), found =>
        {
            if (found is not MockPagingDomain { Tracks: true } domain)
            {
                return Errno.InvalidArgument;
            }

            for (ulong page = 0; page < length / pageSize; page++)
            {
                if ((bits[page / 8] & (1 << (int)(page % 8))) != 0)
                {
                    count += domain.Write(iova + (page * pageSize), pageSize) ? 1u : 0;
                }
            }

            return Errno.Success;
        });
        if (error == Errno.Success)
        {
            System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(argument[56..], count);
        }

        return error;
    }
}
