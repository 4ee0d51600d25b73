using System.Buffers.Binary;
using Ioasis.Kernel;
using Ioasis.Primitives;

namespace Ioasis.MockIommu;

/// <content>A part of the kernel that reaches memory without DMA, and memory of a device that is none.</content>
internal sealed partial class MockExtension
{
    private const ulong LargestAccess = 16 << 20;

    // Of the mock's devices' memory, which nobody reads: addresses that no other memory has.
    private const ulong FirstExported = 1ul << 44;
    private const ulong LargestExport = 512 * SystemPage;

    private long _exported;

    private static Errno UseAccess(
        IommufdContext context, ReadOnlySpan<byte> argument, uint value, Func<MockAccess, uint, Errno> use) =>
        context.UseFile<MockAccess>((int)Word(argument, 8), access => use(access, value));

    private static Errno CreateAccess(IommufdContext context, Span<byte> argument)
    {
        const uint Pins = 1;
        uint flags = Word(argument, 20);
        if ((flags & ~Pins) != 0)
        {
            return Errno.NotSupported;
        }

        MockAccess made = new();
        Errno error = context.CreateAccess(Word(argument, 8), (flags & Pins) != 0 ? made : null, out IommufdAccess? way);
        if (error != Errno.Success)
        {
            return error;
        }

        made.Way = way!;
        made.Pins = (flags & Pins) != 0;
        error = context.AddFile(made, out int descriptor);
        if (error != Errno.Success)
        {
            way!.Dispose();
            return error;
        }

        Put(argument, 16, (uint)descriptor);
        return Errno.Success;
    }

    // Pins pages, which must be those that the caller has at an address.
    private Errno PinAccess(IommufdContext context, Span<byte> argument)
    {
        const uint Writes = 1;
        uint flags = Word(argument, 16);
        ulong iova = Long(argument, 24);
        ulong length = Long(argument, 32);
        ulong user = Long(argument, 40);
        if (length > LargestAccess)
        {
            return Errno.OutOfMemory;
        }

        if ((flags & ~Writes) != 0)
        {
            return Errno.NotSupported;
        }

        uint item = 0;
        bool IsRight(int page, PhysicalAddress address) => user == 0 || IsSame(context.Memory, user + ((ulong)page * SystemPage), address);
        Errno error = context.UseFile<MockAccess>(
            (int)Word(argument, 8),
            access => access.Pins ? access.Pin(iova, length, (flags & Writes) != 0, IsRight, out item) : Errno.NotSupported);
        if (error == Errno.Success)
        {
            Put(argument, 20, item);
        }

        return error;
    }

    private static Errno CopyByAccess(IommufdContext context, ReadOnlySpan<byte> argument)
    {
        const uint Writes = 1;
        const uint Slowly = 4;
        ulong iova = Long(argument, 16);
        ulong length = Long(argument, 24);
        ulong user = Long(argument, 32);
        uint flags = Word(argument, 40);
        if (length > LargestAccess)
        {
            return Errno.OutOfMemory;
        }

        if ((flags & ~(Writes | Slowly)) != 0)
        {
            return Errno.NotSupported;
        }

        byte[] bytes = new byte[length];
        return context.UseFile<MockAccess>((int)Word(argument, 8), access =>
        {
            Errno error = (flags & Writes) != 0 ? context.Memory.Read(user, bytes) : access.Way.Read(iova, bytes);
            return error != Errno.Success ? error
                : (flags & Writes) != 0 ? access.Way.Write(iova, bytes)
                : context.Memory.Write(user, bytes);
        });
    }

    private Errno ExportMemory(IommufdContext context, ulong length, out int descriptor)
    {
        descriptor = 0;
        length = (length + SystemPage - 1) & ~(SystemPage - 1);
        return length is 0 or > LargestExport
            ? Errno.InvalidArgument
            : context.ExportMemory(new(FirstExported + (ulong)Interlocked.Add(ref _exported, (long)length)), length, out descriptor);
    }
}
