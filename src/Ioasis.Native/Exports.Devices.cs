using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Native;

/// <content>Devices: adding, finding, removing; their interrupts and configuration spaces.</content>
internal static unsafe partial class Exports
{
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_create")]
    private static int CreateDevice(nint handle, nint options, nint ops, nint context, nint device)
    {
        const string Call = "ioasis_device_create";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            DeviceOptions wanted = default;
            DeviceOps functions = default;
            DevicePlace place = default;
            Failure? failure = CheckPlace(device, "device")
                ?? SizedStructure.Take(options, "options", out wanted)
                ?? SizedStructure.Take(ops, "ops", out functions);
            if (failure is not null)
            {
                return LastError.Set(Call, failure);
            }

            failure = DeviceDescription.Make(wanted, out PciDeviceDescription? description)
                ?? DevicePlace.Read(wanted, out place);
            if (failure is not null)
            {
                return LastError.Set(Call, failure);
            }

            CallbackDevice function = new(description!, functions, context);
            failure = DeviceAdding.Add(platform, place, function, out NativeDevice? added, function.End);
            if (failure is not null)
            {
                return LastError.Set(Call, failure);
            }

            Unsafe.WriteUnaligned((void*)device, added!.Handle);
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_add")]
    private static int AddDevice(nint handle, nint text, nint device)
    {
        const string Call = "ioasis_device_add";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (device != 0 && CheckPlace(device, "device") is { } missing)
            {
                return LastError.Set(Call, missing);
            }

            if (CallerMemory.ReadText(text, PathLimit, out string wanted) != Errno.Success)
            {
                return LastError.Set(Call, Failure.BadAddress("text", text));
            }

            Failure? failure = DeviceAdding.Add(platform, wanted, out NativeDevice? added);
            if (failure is not null)
            {
                return LastError.Set(Call, failure);
            }

            if (device != 0)
            {
                Unsafe.WriteUnaligned((void*)device, added!.Handle);
            }

            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_find")]
    private static int FindDevice(nint handle, nint name, nint device)
    {
        const string Call = "ioasis_device_find";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (CheckPlace(device, "device") is { } missing)
            {
                return LastError.Set(Call, missing);
            }

            if (CallerMemory.ReadText(name, PathLimit, out string wanted) != Errno.Success)
            {
                return LastError.Set(Call, Failure.BadAddress("name", name));
            }

            if (!platform.Devices.TryGetValue(wanted, out NativeDevice? found))
            {
                found = DeviceId.TryParse(wanted, out DeviceId id)
                    ? platform.Devices.Values.FirstOrDefault(other => other.Endpoint.Id == id)
                    : null;
            }

            if (found is null)
            {
                return LastError.Set(Call, Errno.NoDevice, $"no device has the name or the address \"{wanted}\"");
            }

            Unsafe.WriteUnaligned((void*)device, found.Handle);
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_remove")]
    private static int RemoveDevice(nint handle)
    {
        const string Call = "ioasis_device_remove";
        try
        {
            if (HandleTable.Find(handle) is not NativeDevice device)
            {
                return NoDevice(Call, handle);
            }

            if (device.Platform.IsInside)
            {
                return LastError.Set(Call, Errno.Deadlock, "called by a callback of the platform itself, for which it would wait");
            }

            using (device.Platform.Enter())
            {
                if (device.Platform.IsEnded)
                {
                    return NoDevice(Call, handle);
                }

                lock (device.Platform.DeviceLock)
                {
                    if (HandleTable.Find(handle) is null)
                    {
                        return NoDevice(Call, handle);
                    }

                    Errno error = device.Platform.Machine.RemoveEndpointErrno(device.Endpoint);
                    if (error != Errno.Success)
                    {
                        return LastError.Set(Call, error, $"{device.Endpoint.Device.Name} is open: its client was asked to let it go");
                    }

                    _ = HandleTable.Remove(handle);
                    _ = device.Platform.Devices.TryRemove(device.Endpoint.Device.Name, out _);
                }
            }

            // A call that found it before may still be under way.
            device.Platform.Synchronize();
            device.End();
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_get_info")]
    private static int ReadInfo(nint handle, nint info)
    {
        const string Call = "ioasis_device_get_info";
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(Call, handle);
            }

            if (SizedStructure.Check<DeviceInfo>(info, "info", out uint size) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            EmbeddedEndpoint endpoint = device.Endpoint;
            DeviceInfo read = new()
            {
                Group = (uint)endpoint.Device.Group.Id,
                Requester = endpoint.RequesterId.RequesterId,
                Segment = endpoint.RequesterId.Domain,
                PasidBits = (uint)endpoint.Device.PasidBits,
            };
            SizedStructure.PutText(new(read.Name, 64), endpoint.Device.Name);
            SizedStructure.PutText(new(read.Address, 32), endpoint.Id.ToString());
            SizedStructure.PutText(new(read.DevicePath, 64), endpoint.DevicePath);
            SizedStructure.PutText(new(read.GroupPath, 64), $"/dev/vfio/{endpoint.Device.Group.Id}");
            return SizedStructure.Give(info, "info", size, ref read) is { } bad ? LastError.Set(Call, bad) : 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_signal")]
    private static int Signal(nint handle, uint vector)
    {
        const string Call = "ioasis_device_signal";
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(Call, handle);
            }

            if (device.Function is not CallbackDevice function)
            {
                return LastError.Set(Call, Errno.NoDevice, $"{device.Endpoint.Device.Name} sends its interrupts itself, or has none");
            }

            int vectors = Math.Max(function.Description.MsiVectors, function.Description.MsiX?.Vectors ?? 0);
            if (vector >= (uint)vectors)
            {
                return vectors == 0
                    ? LastError.Set(Call, Errno.NoDevice, $"{device.Endpoint.Device.Name} has neither MSI nor MSI-X")
                    : LastError.Set(Call, Errno.InvalidArgument, $"vector is {vector}: {device.Endpoint.Device.Name} has {vectors}");
            }

            return function.Signal((int)vector) ? 0 : LastError.Set(
                Call,
                Errno.TryAgain,
                function.IsBusMaster
                    ? $"the driver of {device.Endpoint.Device.Name} has not enabled MSI or MSI-X (VFIO_DEVICE_SET_IRQS)"
                    : $"the driver has not made {device.Endpoint.Device.Name} a bus master (bit 2 of the command register)");
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_set_line")]
    private static int SetLine(nint handle, int asserted)
    {
        const string Call = "ioasis_device_set_line";
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(Call, handle);
            }

            if (device.Function is not CallbackDevice { Description.HasInterruptPin: true } function)
            {
                return LastError.Set(Call, Errno.NoDevice, $"{device.Endpoint.Device.Name} has no wired interrupt that its callers drive");
            }

            function.SetLine(asserted != 0);
            return 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_config_read")]
    private static nint ReadConfig(nint handle, uint offset, nint buffer, nuint count) =>
        AccessConfig("ioasis_device_config_read", handle, offset, buffer, count, isWrite: false);

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_device_config_write")]
    private static nint WriteConfig(nint handle, uint offset, nint buffer, nuint count) =>
        AccessConfig("ioasis_device_config_write", handle, offset, buffer, count, isWrite: true);

    private static nint AccessConfig(string call, nint handle, uint offset, nint buffer, nuint count, bool isWrite)
    {
        const int Largest = 4096;
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(call, handle);
            }

            if (device.Function is not { } function)
            {
                return LastError.Set(call, Errno.NoDevice, $"{device.Endpoint.Device.Name} has no configuration space");
            }

            ulong size = function.Backend.GetRegion((int)VfioPciRegion.Config, out var region) == Errno.Success ? region.Size : 0;
            if (count > Largest || offset + count > size)
            {
                return LastError.Set(
                    call, Errno.BadAddress, $"[0x{offset:x}, +0x{count:x}) reaches beyond the 0x{size:x} bytes of the configuration space");
            }

            if (count == 0)
            {
                return 0;
            }

            if (CallerMemory.CountAccessible(buffer, count, writable: !isWrite) < count)
            {
                return LastError.Set(call, Failure.BadAddress("buffer", buffer));
            }

            Span<byte> bytes = new((void*)buffer, (int)count);
            int done;
            Errno error = isWrite
                ? function.Backend.Write((int)VfioPciRegion.Config, offset, bytes, out done)
                : function.Backend.Read((int)VfioPciRegion.Config, offset, bytes, out done);
            return error == Errno.Success ? done : LastError.Set(call, error, $"0x{offset:x} cannot be accessed");
        }
        catch (Exception e)
        {
            return Broken(call, e);
        }
    }
}
