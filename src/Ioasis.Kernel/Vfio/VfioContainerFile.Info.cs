using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <content>GET_INFO: page sizes, and the chain of capabilities (S3.7 to S3.11).</content>
internal sealed partial class VfioContainerFile
{
    private Errno GetInfo(Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioIommuType1Info.MinimumSize, out VfioIommuType1Info info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioIommuType1Info.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        int size = Unsafe.SizeOf<VfioIommuType1Info>();
        CapabilityChain chain = new(size);
        chain.Add(VfioIommuType1Info.MigrationCapability, 1, DescribeMigration());
        chain.Add(
            VfioIommuType1Info.DmaAvailableCapability,
            1,
            BitConverter.GetBytes((uint)(kernel.Options.ContainerMappingLimit - _mappings)));
        chain.Add(VfioIommuType1Info.IovaRangeCapability, 1, DescribeRanges());
        uint given = info.Argsz;
        uint needed = (uint)(size + chain.Bytes.Length);
        info = new()
        {
            Argsz = given,
            Flags = VfioIommuInfoFlags.PageSizes | VfioIommuInfoFlags.Caps,
            IovaPageSizes = _space!.GetPageSizes(),
        };
        if (given < needed)
        {
            info.Argsz = needed;
        }
        else
        {
            if ((uint)argument.Length < needed)
            {
                return Errno.BadAddress;
            }

            chain.Bytes.CopyTo(argument[size..]);
            info.CapOffset = (uint)size;
        }

        return ArgszArgument.Give(argument, info, (int)Math.Min(given, (uint)size));
    }

    private byte[] DescribeMigration()
    {
        byte[] body = new byte[24];
        MemoryMarshal.Write(body.AsSpan(8), _space!.Alignment);
        MemoryMarshal.Write(body.AsSpan(16), MaxBitmapBytes);
        return body;
    }

    private byte[] DescribeRanges()
    {
        AddressRange[] ranges = _space!.GetUsable(out _);
        int each = Unsafe.SizeOf<VfioIovaRange>();
        byte[] body = new byte[8 + (each * ranges.Length)];
        MemoryMarshal.Write(body, (uint)ranges.Length);
        for (int i = 0; i < ranges.Length; i++)
        {
            MemoryMarshal.Write(
                body.AsSpan(8 + (each * i)), new VfioIovaRange { Start = ranges[i].Start, End = ranges[i].Last });
        }

        return body;
    }
}
